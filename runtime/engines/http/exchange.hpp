// One request on its way through libcurl: handle, error buffer, headers and body in one object that does not move.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>

#include "core/operation.hpp"
#include "http/client.hpp"
#include "http/handles.hpp"
#include "http/request.hpp"

namespace deployrun::http {

/// Owned by a Call. Leaves the multi handle before it is destroyed.
class Exchange {
 public:
  using Done = core::Operation<Reply>::Done;

  Exchange(Client& client, Request request, Done done);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  CURL* easy() const noexcept { return easy_.get(); }
  bool paused() const noexcept { return paused_; }
  void set_paused(bool paused) noexcept { paused_ = paused; }
  bool attached() const noexcept { return attached_; }
  void set_attached(bool attached) noexcept { attached_ = attached; }

  /// While still on the multi handle: takes what libcurl knows about the transfer.
  void collect(CURLcode code);
  /// Off the multi handle: tells the caller, who may destroy this.
  void complete();
  void cancelled();
  /// The caller is gone: nobody is told any more, libcurl's callbacks end the transfer.
  void silence() noexcept;

 private:
  void set_up();
  void set_body();
  bool on_header(std::string_view line);
  std::size_t on_body(const char* bytes, std::size_t count);
  std::size_t on_upload(char* into, std::size_t room);
  std::optional<double> days_left() const;
  core::Error failure(CURLcode code);

  Client& client_;
  Request request_;
  Done done_;
  Easy easy_;
  Slist header_list_;
  Slist connect_list_;
  std::array<char, CURL_ERROR_SIZE> error_text_{};
  Reply reply_;
  std::optional<core::Error> stop_;  // why a callback of ours ended the transfer
  std::optional<core::Result<Reply>> result_;
  std::size_t header_bytes_ = 0;
  std::uint64_t route_mark_ = 0;
  bool attached_ = false;
  bool paused_ = false;
  bool silent_ = false;
};

}  // namespace deployrun::http

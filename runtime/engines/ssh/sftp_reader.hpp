// A remote file's bytes in order over SFTP, with many requests in flight. For ssh/ alone.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "ssh/sftp_packet.hpp"

namespace deployrun::ssh {

class SftpReader {
 public:
  /// Asks the server; the answer comes back whatever it is, unless the work has failed.
  using Ask = std::function<void(const sftp::Request&, std::function<void(sftp::Answer)>)>;
  struct Events {
    /// In order. What is taken counts until it is `consumed`.
    std::function<void(std::string)> bytes;
    std::function<void()> end;
    /// An answer that is no data: the file became shorter (kEof), or the server's refusal.
    std::function<void(const sftp::Answer&)> refused;
  };
  /// So much is asked for and not consumed at most.
  static constexpr std::uint64_t kWindow = 4U << 20U;

  /// `size` bytes from the file's beginning. Dies after the work's last request.
  SftpReader(Ask ask, std::string handle, std::uint64_t size, Events events, std::uint64_t window = kWindow);
  void start() { pump(); }
  void consumed(std::uint64_t bytes);
  void widen(std::uint64_t window);

 private:
  struct Piece {
    std::uint64_t offset;
    std::size_t wanted;
    std::string bytes;
  };
  void pump();
  void request(const std::shared_ptr<Piece>& piece);
  void answered(const std::shared_ptr<Piece>& piece, const sftp::Answer& answer);
  void deliver();

  Ask ask_;
  std::string handle_;
  std::uint64_t size_;
  Events events_;
  std::uint64_t window_;
  std::uint64_t asked_ = 0;     // up to here
  std::uint64_t consumed_ = 0;  // up to here
  std::deque<std::shared_ptr<Piece>> pieces_;
  bool ended_ = false;
};

}  // namespace deployrun::ssh

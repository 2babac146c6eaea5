#include "ssh/sftp_reader.hpp"

#include <algorithm>
#include <utility>

namespace deployrun::ssh {

SftpReader::SftpReader(Ask ask, std::string handle, std::uint64_t size, Events events, std::uint64_t window)
    : ask_(std::move(ask)), handle_(std::move(handle)), size_(size), events_(std::move(events)), window_(window) {}

void SftpReader::consumed(std::uint64_t bytes) {
  consumed_ += bytes;
  pump();
}

void SftpReader::widen(std::uint64_t window) {
  window_ = std::max(window_, window);
  pump();
}

void SftpReader::pump() {
  while (asked_ < size_ && asked_ - consumed_ < window_) {
    auto piece = std::make_shared<Piece>();
    piece->offset = asked_;
    piece->wanted = static_cast<std::size_t>(std::min<std::uint64_t>(sftp::kPiece, size_ - asked_));
    asked_ += piece->wanted;
    pieces_.push_back(piece);
    request(piece);
  }
  if (asked_ == size_ && pieces_.empty() && !std::exchange(ended_, true)) events_.end();
}

void SftpReader::request(const std::shared_ptr<Piece>& piece) {
  const std::size_t have = piece->bytes.size();
  ask_(sftp::read(handle_, piece->offset + have, static_cast<std::uint32_t>(piece->wanted - have)),
       [this, piece](const sftp::Answer& answer) { answered(piece, answer); });
}

void SftpReader::answered(const std::shared_ptr<Piece>& piece, const sftp::Answer& answer) {
  if (ended_) return;
  if (answer.type != sftp::Type::data || answer.text.empty() ||
      answer.text.size() > piece->wanted - piece->bytes.size()) {
    ended_ = true;
    return events_.refused(answer);
  }
  piece->bytes += answer.text;
  if (piece->bytes.size() < piece->wanted) return request(piece);  // a server may give less
  deliver();
}

void SftpReader::deliver() {
  while (!pieces_.empty() && pieces_.front()->bytes.size() == pieces_.front()->wanted) {
    std::string bytes = std::move(pieces_.front()->bytes);
    pieces_.pop_front();
    events_.bytes(std::move(bytes));
  }
  if (!ended_) pump();
}

}  // namespace deployrun::ssh

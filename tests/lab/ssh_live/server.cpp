#include "server.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <sstream>
#include <stdexcept>

extern char** environ;

namespace live {
namespace {

std::mutex log_guard;

std::vector<char*> pointers(const std::vector<std::string>& argv) {
  std::vector<char*> list;
  for (const std::string& word : argv) list.push_back(const_cast<char*>(word.c_str()));
  list.push_back(nullptr);
  return list;
}

/// Direct children of a process, by /proc.
std::vector<pid_t> children(pid_t parent) {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string text = slurp(entry.path() / "stat");  // empty where the process has ended meanwhile
    const std::size_t end = text.rfind(')');
    if (end == std::string::npos) continue;
    std::istringstream rest(text.substr(end + 1));
    char state = 0;
    pid_t ppid = 0;
    rest >> state >> ppid;
    if (ppid == parent) found.push_back(static_cast<pid_t>(std::stol(name)));
  }
  return found;
}

/// A process and all below it, the lowest first.
std::vector<pid_t> tree(pid_t pid) {
  std::vector<pid_t> found;
  for (const pid_t child : children(pid)) {
    const auto below = tree(child);
    found.insert(found.end(), below.begin(), below.end());
  }
  found.push_back(pid);
  return found;
}

}  // namespace

Folder::Folder() {
  std::string name = (std::filesystem::temp_directory_path() / "ssh_live.XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
  path_ = name;
}
Folder::~Folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

int run_program(const std::vector<std::string>& argv, const std::string& out) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  pid_t pid = -1;
  const int failed = posix_spawnp(&pid, argv[0].c_str(), &actions, nullptr, pointers(argv).data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return -1;
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string slurp(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream all;
  all << file.rdbuf();
  return all.str();
}

void spill(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

unsigned free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ::bind(fd, reinterpret_cast<sockaddr*>(&address), size);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  ::close(fd);
  return ntohs(address.sin_port);
}

Server::Server(const std::vector<std::string>& extra) : port(free_port()), text_(std::make_shared<std::string>()) {
  static const Folder& made = []() -> const Folder& {  // making an RSA key takes a second
    static const Folder keys;
    for (const char* type : {"ed25519", "ecdsa", "rsa"}) {
      run_program({"ssh-keygen", "-q", "-t", type, "-N", "", "-f", keys / (std::string("host_") + type)});
    }
    return keys;
  }();
  std::filesystem::copy(made.path(), folder.path());
  run_program({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "live", "-f", folder / "user_ed25519"});
  authorize(folder / "user_ed25519.pub");
  know_host(folder / "known_hosts", "ed25519");
  std::string config;
  for (const std::string& line : extra) config += line + "\n";
  // The account's start-up files are no part of a test (and a command that is ended in the middle of one is).
  config += "SetEnv HOME=" + folder.path() + "\n";
  config += "Port " + std::to_string(port) +
            "\nListenAddress 127.0.0.1\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n" +
            "PidFile none\nPrintMotd no\nMaxStartups 100\nLogLevel VERBOSE\nAuthorizedKeysFile " +
            (folder / "authorized_keys") + "\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n";
  for (const char* type : {"ed25519", "ecdsa", "rsa"})
    config += "HostKey " + (folder / (std::string("host_") + type)) + "\n";
  spill(folder / "sshd_config", config);
  std::filesystem::create_directories("/run/sshd");

  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::dup2(ends[1], 2);
    const std::string file = folder / "sshd_config";
    ::execl("/usr/sbin/sshd", "/usr/sbin/sshd", "-D", "-e", "-f", file.c_str(), static_cast<char*>(nullptr));
    ::_exit(127);
  }
  ::close(ends[1]);
  auto ready = std::make_shared<std::pair<std::condition_variable, bool>>();
  reader_ = std::make_unique<std::thread>([text = text_, ready, fd = ends[0]] {
    char piece[4096];
    for (ssize_t count; (count = ::read(fd, piece, sizeof piece)) > 0;) {
      const std::lock_guard lock(log_guard);
      text->append(piece, static_cast<std::size_t>(count));
      ready->second = text->find("Server listening") != std::string::npos;
      ready->first.notify_all();
    }
    ::close(fd);
    const std::lock_guard lock(log_guard);
    ready->second = true;
    ready->first.notify_all();
  });
  std::unique_lock lock(log_guard);
  ready->first.wait(lock, [&] { return ready->second; });
  if (text_->find("Server listening") == std::string::npos) throw std::runtime_error("sshd does not start: " + *text_);
}

Server::~Server() {
  kill_all();
  reader_->join();
}

void Server::kill_all() {
  if (pid_ < 0) return;
  // Stopped first, or a session could still tell of its command's end. Asked once: a parent that dies has no children.
  const auto all = tree(pid_);
  for (const int signal : {SIGSTOP, SIGKILL}) {
    for (const pid_t pid : all) ::kill(pid, signal);
  }
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void Server::stop_all() {
  for (const pid_t pid : tree(pid_)) ::kill(pid, SIGSTOP);
}

std::string Server::log() const {
  const std::lock_guard lock(log_guard);
  return *text_;
}

void Server::know_host(const std::string& file, const std::string& key_type) const {
  std::istringstream key(slurp(folder / ("host_" + key_type + ".pub")));
  std::string type;
  std::string blob;
  key >> type >> blob;
  spill(file, slurp(file) + "[127.0.0.1]:" + std::to_string(port) + " " + type + " " + blob + "\n");
}

void Server::authorize(const std::string& public_key_file) const {
  spill(folder / "authorized_keys", slurp(folder / "authorized_keys") + slurp(public_key_file));
}

ssh::ConnectOptions Server::options() const {
  ssh::ConnectOptions options;
  options.host = "root@127.0.0.1:" + std::to_string(port);
  options.ssh_config = false;
  options.agent = "";
  options.identity_files = {folder / "user_ed25519"};
  options.known_hosts = {folder / "known_hosts"};
  return options;
}

void run_until(core::Loop& loop, const bool& done, std::chrono::milliseconds limit) {
  core::Timer watchdog(loop);
  bool late = false;
  watchdog.start(limit, [&] {
    late = true;
    loop.stop();
  });
  while (!done && !late) loop.run();
  if (!done) throw std::runtime_error("the operation did not end in time");
}

core::Result<std::shared_ptr<ssh::Session>> connect(core::Loop& loop, ssh::ConnectOptions options) {
  ssh::Connect operation(loop, std::make_shared<ssh::Client>(loop), std::move(options));
  return wait(loop, operation);
}

std::shared_ptr<ssh::Session> session(core::Loop& loop, const Server& server) {
  auto connected = connect(loop, server.options());
  if (!connected) throw std::runtime_error(core::describe(connected.error()));
  return *connected;
}

core::Result<ssh::ExecResult> exec(core::Loop& loop, const std::shared_ptr<ssh::Session>& session,
                                   ssh::ExecOptions options) {
  ssh::Exec operation(session, std::move(options));
  return wait(loop, operation);
}

core::Result<ssh::ExecResult> exec(core::Loop& loop, const std::shared_ptr<ssh::Session>& session,
                                   std::vector<std::string> argv) {
  ssh::ExecOptions options;
  options.command.argv = std::move(argv);
  return exec(loop, session, std::move(options));
}

core::Result<ssh::ExecResult> shell(core::Loop& loop, const std::shared_ptr<ssh::Session>& session, std::string line) {
  ssh::ExecOptions options;
  options.command.shell = std::move(line);
  return exec(loop, session, std::move(options));
}

}  // namespace live

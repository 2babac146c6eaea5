#include "bindings/modules.hpp"

namespace deployrun::bindings {

// One per binding file.
int open_agent(lua_State* L);
int open_console(lua_State* L);
int open_docker(lua_State* L);
int open_files(lua_State* L);
int open_http(lua_State* L);
int open_json(lua_State* L);
int open_journal(lua_State* L);
int open_lock(lua_State* L);
int open_log(lua_State* L);
int open_process(lua_State* L);
int open_report(lua_State* L);
int open_secret(lua_State* L);
int open_sqlite(lua_State* L);
int open_secret_source(lua_State* L);
int open_ssh(lua_State* L);
int open_yaml(lua_State* L);
int open_text(lua_State* L);

std::vector<lua::NativeModule> modules() {
  return {
      {"native.journal.raw", open_journal}, {"native.report.raw", open_report},
      {"native.files.raw", open_files},     {"native.json.raw", open_json},
      {"native.log.raw", open_log},         {"native.process.raw", open_process},
      {"native.secret.raw", open_secret},   {"native.yaml.raw", open_yaml},
      {"native.text.raw", open_text},       {"native.secret_source.raw", open_secret_source},
      {"native.ssh.raw", open_ssh},         {"native.http.raw", open_http},
      {"native.sqlite.raw", open_sqlite},   {"native.docker.raw", open_docker},
      {"native.console.raw", open_console}, {"native.agent.raw", open_agent},
      {"native.lock.raw", open_lock},
  };
}

}  // namespace deployrun::bindings

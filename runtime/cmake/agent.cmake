# deployrun-agent: a static program of SQLite, the C and C++ libraries and what it shares with deployrun; not one of the
# rooms, because it runs where deployrun does not. The sources of the rooms are compiled once more, for size.
file(GLOB agent_sources CONFIGURE_DEPENDS agent/*.cpp)
add_executable(deployrun-agent ${agent_sources}
  core/base64.cpp core/duration.cpp core/error.cpp core/file_lock.cpp core/text.cpp
  engines/json/error.cpp engines/json/json.cpp engines/agent/protocol.cpp
  engines/lock/carrier.cpp engines/lock/claims.cpp engines/lock/deploy_lock.cpp engines/lock/fence.cpp
  engines/lock/folder.cpp engines/lock/host_clock.cpp engines/lock/keeper.cpp engines/lock/queue.cpp
  engines/lock/record.cpp
  engines/sqlite/backup.cpp engines/sqlite/database.cpp engines/sqlite/error.cpp engines/sqlite/files.cpp
  engines/sqlite/holders.cpp
  engines/sqlite/mutex_file.cpp engines/sqlite/once.cpp engines/sqlite/patience.cpp engines/sqlite/place.cpp
  engines/sqlite/rows.cpp)
foreach(room core json sqlite lock agent)
  target_include_directories(deployrun-agent PRIVATE ${CMAKE_BINARY_DIR}/include/${room})
endforeach()
target_compile_definitions(deployrun-agent PRIVATE DEPLOYRUN_VERSION="${PROJECT_VERSION}")
target_compile_options(deployrun-agent PRIVATE ${DEPLOYRUN_WARNINGS} -Os -ffunction-sections -fdata-sections)
target_link_options(deployrun-agent PRIVATE -static -s -Wl,--gc-sections -Wl,--build-id=none)
target_link_libraries(deployrun-agent PRIVATE sqlite3 nlohmann_json::nlohmann_json)
set_target_properties(deployrun-agent PROPERTIES POSITION_INDEPENDENT_CODE OFF
  RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/agent)

# deployrun-agent: a static program of SQLite, the C and C++ libraries and what it shares with deployrun; not one of the
# rooms, because it runs where deployrun does not. The sources of the rooms are compiled once more, for size.
#   deployrun_agent(RUNTIME folder of runtime/ ROOMS folder of the rooms' headers LINKS libraries…)
function(deployrun_agent)
  cmake_parse_arguments(AGENT "" "RUNTIME;ROOMS" "LINKS" ${ARGN})
  set(shared
    core/base64 core/duration core/error core/file_lock core/text
    engines/json/error engines/json/json engines/agent/protocol
    engines/lock/carrier engines/lock/claims engines/lock/deploy_lock engines/lock/fence
    engines/lock/folder engines/lock/host_clock engines/lock/keeper engines/lock/queue
    engines/lock/record
    engines/sqlite/backup engines/sqlite/database engines/sqlite/error engines/sqlite/files
    engines/sqlite/holders
    engines/sqlite/mutex_file engines/sqlite/once engines/sqlite/patience engines/sqlite/place
    engines/sqlite/rows)
  list(TRANSFORM shared REPLACE "(.+)" "${AGENT_RUNTIME}/\\1.cpp")
  file(GLOB own CONFIGURE_DEPENDS ${AGENT_RUNTIME}/agent/*.cpp)
  add_executable(deployrun-agent ${own} ${shared})
  foreach(room core json sqlite lock agent)
    target_include_directories(deployrun-agent PRIVATE ${AGENT_ROOMS}/${room})
  endforeach()
  target_compile_definitions(deployrun-agent PRIVATE DEPLOYRUN_VERSION="${PROJECT_VERSION}")
  target_compile_options(deployrun-agent PRIVATE ${DEPLOYRUN_WARNINGS} -Os -ffunction-sections -fdata-sections)
  target_link_options(deployrun-agent PRIVATE -static -s -Wl,--gc-sections -Wl,--build-id=none)
  target_link_libraries(deployrun-agent PRIVATE ${AGENT_LINKS})
  set_target_properties(deployrun-agent PROPERTIES POSITION_INDEPENDENT_CODE OFF
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/agent)
endfunction()

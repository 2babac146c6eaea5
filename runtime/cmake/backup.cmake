# deployrun-backup: a static program as deployrun-agent is one, with zstd and libcurl too; what a server runs by its own
# timer, where deployrun is not. The linker warns of getaddrinfo: the program asks for the two ways of finding names that
# are part of the C library (glibc from 2.34 on), and so loads nothing.
file(GLOB backup_sources CONFIGURE_DEPENDS engines/backup/*.cpp)
add_executable(deployrun-backup backup/main.cpp ${backup_sources}
  core/base64.cpp core/duration.cpp core/error.cpp core/file_lock.cpp core/file_pieces.cpp core/files.cpp core/loop.cpp
  core/tar.cpp core/text.cpp
  engines/json/error.cpp engines/json/json.cpp engines/agent/protocol.cpp
  engines/sqlite/backup.cpp engines/sqlite/database.cpp engines/sqlite/error.cpp engines/sqlite/holders.cpp
  engines/sqlite/mutex_file.cpp engines/sqlite/patience.cpp engines/sqlite/place.cpp)
foreach(room core json sqlite agent backup)
  target_include_directories(deployrun-backup PRIVATE ${CMAKE_BINARY_DIR}/include/${room})
endforeach()
target_compile_definitions(deployrun-backup PRIVATE DEPLOYRUN_VERSION="${PROJECT_VERSION}")
target_compile_options(deployrun-backup PRIVATE ${DEPLOYRUN_WARNINGS} -Os -ffunction-sections -fdata-sections)
target_link_options(deployrun-backup PRIVATE -static -s -Wl,--gc-sections -Wl,--build-id=none)
target_link_libraries(deployrun-backup PRIVATE sqlite3 libcurl libzstd libuv nlohmann_json::nlohmann_json)
set_target_properties(deployrun-backup PROPERTIES POSITION_INDEPENDENT_CODE OFF
  RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/agent)

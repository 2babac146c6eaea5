# The agents that are compiled in: for servers like this machine, and for arm64 where its compiler (Debian's
# g++-aarch64-linux-gnu) was there when .ci/setup built SQLite. `deployrun_agents` lists ARCHITECTURE|PROGRAM.
include(ExternalProject)

deployrun_agent(RUNTIME ${CMAKE_CURRENT_SOURCE_DIR} ROOMS ${CMAKE_BINARY_DIR}/include
  LINKS sqlite3 nlohmann_json::nlohmann_json)
set(deployrun_agents "${CMAKE_SYSTEM_PROCESSOR}|${CMAKE_BINARY_DIR}/agent/deployrun-agent")

find_program(DEPLOYRUN_AARCH64_CXX aarch64-linux-gnu-g++)
find_program(DEPLOYRUN_AARCH64_CC aarch64-linux-gnu-gcc)
if(DEPLOYRUN_AARCH64_CXX AND DEPLOYRUN_AARCH64_CC AND EXISTS ${DEPLOYRUN_DEPS}/aarch64/lib/libsqlite3.a
   AND NOT CMAKE_SYSTEM_PROCESSOR STREQUAL aarch64 AND NOT DEPLOYRUN_SANITIZE)
  set(elsewhere ${CMAKE_BINARY_DIR}/agent-aarch64)
  # Headers alone, but beside those of this machine's C library, which are not for it.
  find_path(DEPLOYRUN_JSON_INCLUDE nlohmann/json.hpp)
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/include/nlohmann_json)
  file(CREATE_LINK ${DEPLOYRUN_JSON_INCLUDE}/nlohmann ${CMAKE_BINARY_DIR}/include/nlohmann_json/nlohmann SYMBOLIC)
  string(REPLACE ";" "|" launcher "${CMAKE_CXX_COMPILER_LAUNCHER}")
  string(REPLACE ";" "|" warnings "${DEPLOYRUN_WARNINGS}")
  ExternalProject_Add(deployrun-agent-aarch64
    SOURCE_DIR ${CMAKE_CURRENT_SOURCE_DIR}/cmake/aarch64
    BINARY_DIR ${elsewhere}
    LIST_SEPARATOR |
    CMAKE_ARGS -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_BUILD_TYPE=${CMAKE_BUILD_TYPE}
      -DCMAKE_C_COMPILER=${DEPLOYRUN_AARCH64_CC} -DCMAKE_CXX_COMPILER=${DEPLOYRUN_AARCH64_CXX}
      -DCMAKE_CXX_COMPILER_LAUNCHER=${launcher} -DCMAKE_CXX_STANDARD=${CMAKE_CXX_STANDARD} -DCMAKE_CXX_EXTENSIONS=OFF
      "-DCMAKE_CXX_FLAGS_RELEASE=${CMAKE_CXX_FLAGS_RELEASE}" -DDEPLOYRUN_WARNINGS=${warnings}
      -DDEPLOYRUN_VERSION=${PROJECT_VERSION} -DDEPLOYRUN_RUNTIME=${CMAKE_CURRENT_SOURCE_DIR}
      -DDEPLOYRUN_ROOMS=${CMAKE_BINARY_DIR}/include -DDEPLOYRUN_SQLITE=${DEPLOYRUN_DEPS}/aarch64
    BUILD_ALWAYS ON
    BUILD_BYPRODUCTS ${elsewhere}/agent/deployrun-agent
    INSTALL_COMMAND "")
  list(APPEND deployrun_agents "aarch64|${elsewhere}/agent/deployrun-agent")
endif()

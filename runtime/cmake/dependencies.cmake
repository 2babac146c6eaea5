# Where the libraries come from: the distribution's packages, and for the ones whose packaged version is unsafe
# (libssh2, SQLite), too big (libcurl) or too old (Catch2) the prefix that .ci/setup fills.
if(DEFINED ENV{DEPLOYRUN_DEPS})
  set(DEPLOYRUN_DEPS $ENV{DEPLOYRUN_DEPS})
else()
  set(DEPLOYRUN_DEPS $ENV{HOME}/.cache/deployrun/deps)
endif()
list(PREPEND CMAKE_PREFIX_PATH ${DEPLOYRUN_DEPS})

find_program(CCACHE ccache)
if(CCACHE)
  # Paths relative to the tree, so that a second checkout or build folder finds what the first one compiled.
  set(launcher ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1
               CCACHE_SLOPPINESS=locale ${CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
endif()

# One file to copy: everything but the C library is linked in where the distribution ships an archive of it, so that the
# binary starts fast and runs on a bare server.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)

# deployrun_library(target header "names of the library" links…): the archive under the prefix, else the system's archive,
# else its shared library.
function(deployrun_library target header names)
  list(TRANSFORM names REPLACE "(.+)" "lib\\1.a" OUTPUT_VARIABLE archives)
  find_path(${target}_INCLUDE NAMES ${header} PATHS ${DEPLOYRUN_DEPS}/include NO_DEFAULT_PATH)
  find_library(${target}_LIBRARY NAMES ${archives} PATHS ${DEPLOYRUN_DEPS}/lib NO_DEFAULT_PATH)
  if(NOT ${target}_LIBRARY OR NOT ${target}_INCLUDE)
    find_path(${target}_INCLUDE NAMES ${header} PATH_SUFFIXES luajit-2.1)
    find_library(${target}_LIBRARY NAMES ${archives} ${names} NAMES_PER_DIR)
  endif()
  if(NOT ${target}_LIBRARY OR NOT ${target}_INCLUDE)
    message(FATAL_ERROR "${target}: neither under ${DEPLOYRUN_DEPS} nor in the system: run .ci/setup first")
  endif()
  add_library(${target} UNKNOWN IMPORTED GLOBAL)
  set_target_properties(${target} PROPERTIES IMPORTED_LOCATION ${${target}_LIBRARY} INTERFACE_LINK_LIBRARIES "${ARGN}")
  if(NOT ${target}_INCLUDE STREQUAL /usr/include)  # there anyway, and last
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES ${${target}_INCLUDE})
  endif()
endfunction()
deployrun_library(libuv uv.h "uv_a;uv" Threads::Threads ${CMAKE_DL_LIBS} rt)
deployrun_library(luajit luajit.h "luajit-5.1" ${CMAKE_DL_LIBS} m)
deployrun_library(yaml-cpp yaml-cpp/yaml.h "yaml-cpp")
deployrun_library(libmd md5.h "md")
deployrun_library(libbsd bsd/stdlib.h "bsd" libmd)
deployrun_library(libtinfo curses.h "tinfo")
deployrun_library(libedit editline/readline.h "edit" libbsd libtinfo)
deployrun_library(libz zlib.h "z")
deployrun_library(libcrypto openssl/opensslv.h "crypto" Threads::Threads ${CMAKE_DL_LIBS})
deployrun_library(libssl openssl/ssl.h "ssl" libcrypto)
deployrun_library(libssh2 libssh2.h "ssh2" libssl libcrypto libz)

# OpenSSL's ChaCha20-Poly1305 in the place of libssh2's own (fast_cipher.cpp) and its AES-GCM a packet at a time
# (fast_gcm.cpp), where libssh2 is an archive that has both. The sources are in the archive of a room that stands before
# libssh2: hence --undefined.
function(deployrun_fast_cipher target)
  set(functions chacha_encrypt_bytes poly1305_auth _libssh2_cipher_crypt)
  set(found "")
  if(libssh2_LIBRARY MATCHES "\\.a$")
    file(STRINGS ${libssh2_LIBRARY} found
         REGEX "^(chacha_encrypt_bytes|poly1305_auth|_libssh2_cipher_crypt|aes128-gcm@openssh.com)$")
    list(REMOVE_DUPLICATES found)
  endif()
  list(LENGTH found count)
  if(NOT count EQUAL 4)
    set_source_files_properties(${CMAKE_CURRENT_SOURCE_DIR}/engines/ssh/fast_cipher.cpp PROPERTIES HEADER_FILE_ONLY ON)
    return()
  endif()
  target_compile_definitions(${target} PUBLIC DEPLOYRUN_FAST_CIPHER)
  foreach(name ${functions})
    target_link_options(${target} INTERFACE LINKER:--wrap=${name} LINKER:--undefined=__wrap_${name})
  endforeach()
endfunction()

deployrun_library(libzstd zstd.h "zstd")
deployrun_library(sqlite3 sqlite3.h "sqlite3" Threads::Threads ${CMAKE_DL_LIBS} m)
if(NOT EXISTS ${DEPLOYRUN_DEPS}/lib/libcurl.a)  # the distribution's brings half of it in
  message(FATAL_ERROR "libcurl: not under ${DEPLOYRUN_DEPS}: run .ci/setup first")
endif()
deployrun_library(libcurl curl/curl.h "curl" libssl libcrypto Threads::Threads)

if(DEPLOYRUN_TESTS)
  find_package(Catch2 3 REQUIRED)
endif()

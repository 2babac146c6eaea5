# deployrun_room(NAME DIR folder USES rooms… LINKS libraries…): a static library of every .cpp in `folder`.
# Its headers are reached as "NAME/x.hpp" through a link farm, by itself and by the rooms that name it in USES, by nobody else.

# Designated initialisers leave members out on purpose; g++ 12 would warn of each.
set(DEPLOYRUN_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-missing-field-initializers -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  # Optimising, g++ reports moved-from std::variant and std::string operations that cannot happen (GCC bugs 80635, 105651).
  list(APPEND DEPLOYRUN_WARNINGS -Wno-maybe-uninitialized -Wno-restrict)
else()  # clang counts it to -Wconversion, g++ does not
  list(APPEND DEPLOYRUN_WARNINGS -Wno-sign-conversion)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")

function(deployrun_flags target)
  target_compile_options(${target} PRIVATE ${DEPLOYRUN_WARNINGS})
  if(DEPLOYRUN_SANITIZE)
    target_compile_options(${target} PRIVATE -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all)
    target_link_options(${target} PRIVATE -fsanitize=address,undefined)
  endif()
endfunction()

# What the fuzzers are linked to (tests/fuzz) tells them what an input reached, and is fast enough for many.
set(DEPLOYRUN_FUZZED core json yaml journal docker http agent backup ssh sqlite)
function(deployrun_room_flags name)
  deployrun_flags(deployrun_${name})
  if(DEPLOYRUN_SANITIZE AND CMAKE_CXX_COMPILER_ID STREQUAL Clang AND name IN_LIST DEPLOYRUN_FUZZED)
    target_compile_options(deployrun_${name} PRIVATE -O1 -fsanitize=fuzzer-no-link)
  endif()
endfunction()

function(deployrun_room name)
  cmake_parse_arguments(ROOM "" "DIR" "USES;LINKS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${ROOM_DIR}/*.cpp)
  set(farm ${CMAKE_BINARY_DIR}/include/${name})
  file(MAKE_DIRECTORY ${farm})
  file(CREATE_LINK ${CMAKE_CURRENT_SOURCE_DIR}/${ROOM_DIR} ${farm}/${name} SYMBOLIC)
  if(sources)
    add_library(deployrun_${name} STATIC ${sources})
    target_include_directories(deployrun_${name} PUBLIC ${farm})
    deployrun_room_flags(${name})
    set(scope PUBLIC)
  else()
    add_library(deployrun_${name} INTERFACE)
    target_include_directories(deployrun_${name} INTERFACE ${farm})
    set(scope INTERFACE)
  endif()
  foreach(room ${ROOM_USES})
    target_link_libraries(deployrun_${name} ${scope} deployrun_${room})
  endforeach()
  target_link_libraries(deployrun_${name} ${scope} ${ROOM_LINKS})
endfunction()

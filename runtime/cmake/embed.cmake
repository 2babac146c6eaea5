# Compiles stdlib/**/*.lua and the programs for servers into the binary, byte for byte: an assembler file with one .incbin
# each, and a table of names.
enable_language(ASM)

file(GLOB_RECURSE stdlib_files CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}/stdlib ${CMAKE_SOURCE_DIR}/stdlib/*.lua)
list(SORT stdlib_files)
set(assembly "  .section .rodata\n")
set(declarations "")
set(rows "")
set(number 0)
set(embedded_paths "")

macro(deployrun_embed name path)
  string(APPEND assembly "  .global deployrun_lua_${number}\ndeployrun_lua_${number}:\n"
    "  .incbin \"${path}\"\n  .global deployrun_lua_${number}_end\ndeployrun_lua_${number}_end:\n")
  string(APPEND declarations "extern const char deployrun_lua_${number}[], deployrun_lua_${number}_end[];\n")
  string(APPEND rows "      {\"${name}\", {deployrun_lua_${number},\n"
    "        static_cast<std::size_t>(deployrun_lua_${number}_end - deployrun_lua_${number})}},\n")
  list(APPEND embedded_paths ${path})
  math(EXPR number "${number} + 1")
endmacro()

foreach(file ${stdlib_files})
  deployrun_embed(${file} ${CMAKE_SOURCE_DIR}/stdlib/${file})
endforeach()
# No module's name: what `init` begins a project with, and the list of components.
deployrun_embed("project:prod.lua" ${CMAKE_SOURCE_DIR}/recipes/prod.lua)
deployrun_embed("sbom.cdx.json" ${CMAKE_BINARY_DIR}/sbom.cdx.json)
# The programs for servers, by architecture.
foreach(one ${deployrun_agents})
  string(REPLACE "|" ";" one "${one}")
  list(GET one 0 architecture)
  list(GET one 1 program)
  deployrun_embed("agent:${architecture}" ${program})
endforeach()
deployrun_embed("backup:${CMAKE_SYSTEM_PROCESSOR}" ${CMAKE_BINARY_DIR}/agent/deployrun-backup)
string(APPEND assembly "  .section .note.GNU-stack,\"\",@progbits\n")
file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/stdlib_bytes.S CONTENT "${assembly}")
file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/stdlib_table.cpp CONTENT
"#include \"cli/stdlib.hpp\"\nextern \"C\" {\n${declarations}}\nnamespace deployrun::cli {
std::vector<lua::EmbeddedFile> embedded_stdlib() {\n  return {\n${rows}  };\n}\n}  // namespace deployrun::cli\n")

set_source_files_properties(${CMAKE_BINARY_DIR}/stdlib_bytes.S PROPERTIES OBJECT_DEPENDS "${embedded_paths}")
add_library(deployrun_stdlib STATIC ${CMAKE_BINARY_DIR}/stdlib_bytes.S ${CMAKE_BINARY_DIR}/stdlib_table.cpp)
target_link_libraries(deployrun_stdlib PUBLIC deployrun_cli)
add_dependencies(deployrun_stdlib deployrun-agent deployrun-backup)
if(TARGET deployrun-agent-aarch64)
  add_dependencies(deployrun_stdlib deployrun-agent-aarch64)
endif()

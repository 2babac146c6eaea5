# Compiles stdlib/**/*.lua into the binary, byte for byte: an assembler file with one .incbin each, and a table of names.
enable_language(ASM)

file(GLOB_RECURSE stdlib_files CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}/stdlib ${CMAKE_SOURCE_DIR}/stdlib/*.lua)
list(SORT stdlib_files)
set(assembly "  .section .rodata\n")
set(declarations "")
set(rows "")
set(number 0)
foreach(file ${stdlib_files})
  string(APPEND assembly "  .global deployrun_lua_${number}\ndeployrun_lua_${number}:\n"
    "  .incbin \"${CMAKE_SOURCE_DIR}/stdlib/${file}\"\n  .global deployrun_lua_${number}_end\ndeployrun_lua_${number}_end:\n")
  string(APPEND declarations "extern const char deployrun_lua_${number}[], deployrun_lua_${number}_end[];\n")
  string(APPEND rows "      {\"${file}\", {deployrun_lua_${number},\n"
    "        static_cast<std::size_t>(deployrun_lua_${number}_end - deployrun_lua_${number})}},\n")
  math(EXPR number "${number} + 1")
endforeach()
string(APPEND assembly "  .section .note.GNU-stack,\"\",@progbits\n")
file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/stdlib_bytes.S CONTENT "${assembly}")
file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/stdlib_table.cpp CONTENT
"#include \"cli/stdlib.hpp\"\nextern \"C\" {\n${declarations}}\nnamespace deployrun::cli {
std::vector<lua::EmbeddedFile> embedded_stdlib() {\n  return {\n${rows}  };\n}\n}  // namespace deployrun::cli\n")

list(TRANSFORM stdlib_files PREPEND ${CMAKE_SOURCE_DIR}/stdlib/ OUTPUT_VARIABLE stdlib_paths)
set_source_files_properties(${CMAKE_BINARY_DIR}/stdlib_bytes.S PROPERTIES OBJECT_DEPENDS "${stdlib_paths}")
add_library(deployrun_stdlib STATIC ${CMAKE_BINARY_DIR}/stdlib_bytes.S ${CMAKE_BINARY_DIR}/stdlib_table.cpp)
target_link_libraries(deployrun_stdlib PUBLIC deployrun_cli)

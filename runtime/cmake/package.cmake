# `cmake --install` and `cpack`: a .deb and a .tar.gz with one binary that needs the C library alone.
include(GNUInstallDirs)
set(made ${CMAKE_BINARY_DIR}/package)
file(MAKE_DIRECTORY ${made})
# The binary itself writes its manual page, its completions and the editor's types, so they always fit.
add_custom_command(OUTPUT ${made}/stamp
  COMMAND deployrun man > ${made}/deployrun.1
  COMMAND deployrun completion bash > ${made}/deployrun.bash
  COMMAND deployrun completion zsh > ${made}/_deployrun
  COMMAND deployrun completion fish > ${made}/deployrun.fish
  COMMAND deployrun types ${made}/types > ${CMAKE_BINARY_DIR}/package/types.log
  COMMAND ${CMAKE_COMMAND} -E touch ${made}/stamp
  DEPENDS deployrun WORKING_DIRECTORY ${CMAKE_BINARY_DIR} VERBATIM)
add_custom_target(package_files DEPENDS ${made}/stamp)

install(PROGRAMS $<TARGET_FILE:deployrun> $<TARGET_FILE:deployrun-agent> DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES ${made}/deployrun.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${made}/deployrun.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME deployrun)
install(FILES ${made}/_deployrun DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
install(FILES ${made}/deployrun.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(DIRECTORY ${made}/types/ DESTINATION ${CMAKE_INSTALL_DATADIR}/deployrun/types)
install(FILES ${CMAKE_BINARY_DIR}/sbom.cdx.json README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY ${CMAKE_BINARY_DIR}/licences DESTINATION ${CMAKE_INSTALL_DOCDIR})  # of what is linked in
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright)

set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)  # what is installed is built by the target package_files
set(CPACK_GENERATOR DEB TGZ)
set(CPACK_PACKAGE_NAME deployrun)
set(CPACK_PACKAGE_CONTACT "deployrun authors <deployrun@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "runs deploy recipes written in Lua, and undoes them when they fail")
set(CPACK_PACKAGE_FILE_NAME deployrun-${PROJECT_VERSION}-linux-${CMAKE_SYSTEM_PROCESSOR})
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)  # what the binary really asks of the C library
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "ca-certificates, openssh-client, git")
include(CPack)

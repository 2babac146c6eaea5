// Transfers as their users know them: through the host's shell, and where that is missing or lacks the programs for it,
// over SFTP. For one that finds neither, the shell's error counts.
#pragma once

#include <memory>
#include <string>

#include "ssh/folder_download.hpp"
#include "ssh/folder_upload.hpp"
#include "ssh/transfer.hpp"

namespace deployrun::ssh {

/// As Upload, SftpUpload. Throws Failure (`usage`) for a path that cannot be.
std::unique_ptr<core::Operation<Transferred>> upload(std::shared_ptr<Session> session, Upload::FromFile from,
                                                     std::string path, PutOptions options);
std::unique_ptr<core::Operation<Transferred>> upload(std::shared_ptr<Session> session, std::string bytes,
                                                     std::string path, PutOptions options);
/// As Download, SftpDownload.
std::unique_ptr<core::Operation<Transferred>> download(std::shared_ptr<Session> session, std::string path,
                                                       std::string to, OnProgress on_progress);
/// As ReadFile, SftpReadFile.
std::unique_ptr<core::Operation<std::string>> read_file(std::shared_ptr<Session> session, std::string path,
                                                        std::size_t limit);
/// As FolderUpload, SftpFolderUpload.
std::unique_ptr<core::Operation<TransferredFolder>> upload_folder(std::shared_ptr<Session> session, std::string from,
                                                                  std::string path, FolderOptions options);
/// As FolderDownload, SftpFolderDownload.
std::unique_ptr<core::Operation<TransferredFolder>> download_folder(std::shared_ptr<Session> session, std::string path,
                                                                    std::string to, UnpackOptions options,
                                                                    OnProgress on_progress);

}  // namespace deployrun::ssh

// A bucket of S3-compatible storage, or a folder in it (AWS's S3 API of 2006-03-01: PutObject, GetObject, HeadObject,
// DeleteObject, ListObjectsV2, and the multipart calls).
#pragma once

#include <memory>
#include <string>

#include "backup/request.hpp"
#include "backup/store.hpp"

namespace deployrun::backup {

struct Bucket {
  std::string endpoint;  ///< "https://s3.eu-central-1.amazonaws.com"
  std::string region = "us-east-1";
  std::string bucket;
  std::string prefix;              ///< "shop/": before every key
  bool bucket_in_host = false;     ///< https://BUCKET.endpoint/KEY instead of https://endpoint/BUCKET/KEY
  std::string authorities;         ///< a file of certificates instead of the system's
  std::int64_t part = 16U << 20U;  ///< bytes; what is larger than two of them is sent in parts. S3 takes 5 MiB at least
};

std::unique_ptr<Store> open_bucket(std::string plan, Bucket bucket, Account account);

}  // namespace deployrun::backup

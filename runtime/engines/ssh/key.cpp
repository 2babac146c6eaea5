#include "ssh/key.hpp"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <array>
#include <cstring>
#include <optional>
#include <vector>

#include "core/base64.hpp"
#include "core/secret.hpp"
#include "core/text.hpp"
#include "ssh/bcrypt.hpp"
#include "ssh/wire.hpp"

namespace deployrun::ssh {
namespace {

constexpr std::string_view kOpensshBegin = "-----BEGIN OPENSSH PRIVATE KEY-----";
constexpr std::string_view kOpensshEnd = "-----END OPENSSH PRIVATE KEY-----";
constexpr std::string_view kOpensshMagic{"openssh-key-v1\0", 15};
constexpr int kRsaBitsMinimum = 2048;

core::Error bad_key(std::string message, std::string hint = {}) {
  return {.kind = "ssh.key", .message = std::move(message), .hint = std::move(hint)};
}

const unsigned char* raw(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

struct Curve {
  const char* name;   // in SSH
  const char* group;  // in OpenSSL
  const char* group_other;
};
constexpr std::array<Curve, 3> kCurves = {
    {{"nistp256", "prime256v1", "P-256"}, {"nistp384", "secp384r1", "P-384"}, {"nistp521", "secp521r1", "P-521"}}};

/// A text of key material, wiped when it dies.
struct Sensitive {
  std::string text;
  Sensitive() = default;
  explicit Sensitive(std::string value) : text(std::move(value)) {}
  Sensitive(const Sensitive&) = delete;
  Sensitive& operator=(const Sensitive&) = delete;
  ~Sensitive() { core::wipe(text); }
};

BigNumber number(std::string_view bytes) {
  return BigNumber(BN_bin2bn(raw(bytes), static_cast<int>(bytes.size()), nullptr));
}

class Params {
 public:
  Params() : build_(OSSL_PARAM_BLD_new()) {}
  ~Params() {
    OSSL_PARAM_BLD_free(build_);
    OSSL_PARAM_free(params_);
  }
  Params(const Params&) = delete;
  Params& operator=(const Params&) = delete;

  void text(const char* key, const char* value) { OSSL_PARAM_BLD_push_utf8_string(build_, key, value, 0); }
  void octets(const char* key, std::string_view value) {
    OSSL_PARAM_BLD_push_octet_string(build_, key, value.data(), value.size());
  }
  void big(const char* key, BigNumber value) {
    OSSL_PARAM_BLD_push_BN(build_, key, value.get());
    numbers_.push_back(std::move(value));
  }
  PKey make(const char* type) {
    params_ = OSSL_PARAM_BLD_to_param(build_);
    const PKeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr));
    EVP_PKEY* key = nullptr;
    if (!context || params_ == nullptr || EVP_PKEY_fromdata_init(context.get()) <= 0 ||
        EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_KEYPAIR, params_) <= 0) {
      return {};
    }
    return PKey(key);
  }

 private:
  OSSL_PARAM_BLD* build_;
  OSSL_PARAM* params_ = nullptr;
  std::vector<BigNumber> numbers_;
};

/// d mod (p - 1), which OpenSSH's format leaves out and OpenSSL signs four times faster with.
BigNumber exponent(const BigNumber& d, const BigNumber& prime) {
  BigNumber less(BN_dup(prime.get()));
  BigNumber result(BN_new());
  std::unique_ptr<BN_CTX, Deleter<BN_CTX_free>> context(BN_CTX_new());
  if (!less || !result || BN_sub_word(less.get(), 1) == 0) return {};
  BN_set_flags(d.get(), BN_FLG_CONSTTIME);
  if (BN_mod(result.get(), d.get(), less.get(), context.get()) == 0) return {};
  return result;
}

PKey rsa_key(WireReader& fields) {
  const auto n = fields.string();
  const auto e = fields.string();
  const auto d = fields.string();
  const auto inverse = fields.string();
  const auto p = fields.string();
  const auto q = fields.string();
  if (!q) return {};
  BigNumber private_exponent = number(*d);
  BigNumber first = number(*p);
  BigNumber second = number(*q);
  if (BN_cmp(first.get(), BN_value_one()) <= 0 || BN_cmp(second.get(), BN_value_one()) <= 0) return {};
  BigNumber first_exponent = exponent(private_exponent, first);
  BigNumber second_exponent = exponent(private_exponent, second);
  if (!first_exponent || !second_exponent) return {};
  Params params;
  params.big("n", number(*n));
  params.big("e", number(*e));
  params.big("d", std::move(private_exponent));
  params.big("rsa-factor1", std::move(first));
  params.big("rsa-factor2", std::move(second));
  params.big("rsa-exponent1", std::move(first_exponent));
  params.big("rsa-exponent2", std::move(second_exponent));
  params.big("rsa-coefficient1", number(*inverse));
  return params.make("RSA");
}

PKey ecdsa_key(WireReader& fields) {
  const auto curve = fields.string();
  const auto point = fields.string();
  const auto secret = fields.string();
  if (!secret) return {};
  for (const Curve& known : kCurves) {
    if (*curve != known.name) continue;
    Params params;
    params.text("group", known.group);
    params.octets("pub", *point);
    params.big("priv", number(*secret));
    return params.make("EC");
  }
  return {};
}

PKey ed25519_key(WireReader& fields) {
  const auto point = fields.string();
  const auto pair = fields.string();  // seed and public key
  if (!pair || point->size() != 32 || pair->size() != 64 || pair->substr(32) != *point) return {};
  return PKey(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, raw(*pair), 32));
}

std::string big_param(const EVP_PKEY* key, const char* name) {
  BIGNUM* value = nullptr;
  if (EVP_PKEY_get_bn_param(key, name, &value) == 0) return {};
  const BigNumber owner(value);
  std::string bytes(static_cast<std::size_t>(BN_num_bytes(value)), '\0');
  BN_bn2bin(value, reinterpret_cast<unsigned char*>(bytes.data()));
  return bytes;
}

std::string public_blob(EVP_PKEY* key) {
  std::string blob;
  switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_ED25519: {
      std::string point(32, '\0');
      std::size_t size = point.size();
      if (EVP_PKEY_get_raw_public_key(key, reinterpret_cast<unsigned char*>(point.data()), &size) == 0) return {};
      put_string(blob, "ssh-ed25519");
      put_string(blob, point);
      return blob;
    }
    case EVP_PKEY_RSA:
      put_string(blob, "ssh-rsa");
      put_mpint(blob, big_param(key, "e"));
      put_mpint(blob, big_param(key, "n"));
      return blob;
    case EVP_PKEY_EC: {
      std::array<char, 64> group{};
      std::size_t length = 0;
      if (EVP_PKEY_get_group_name(key, group.data(), group.size(), &length) == 0) return {};
      for (const Curve& curve : kCurves) {
        if (std::strcmp(group.data(), curve.group) != 0 && std::strcmp(group.data(), curve.group_other) != 0) continue;
        std::string point(256, '\0');
        std::size_t size = 0;
        if (EVP_PKEY_get_octet_string_param(key, "pub", reinterpret_cast<unsigned char*>(point.data()), point.size(),
                                            &size) == 0) {
          return {};
        }
        point.resize(size);
        put_string(blob, std::string("ecdsa-sha2-") + curve.name);
        put_string(blob, curve.name);
        put_string(blob, point);
        return blob;
      }
      return {};
    }
    default: return {};
  }
}

core::Result<KeyFile> usable(PKey key, bool encrypted, std::string_view expected_blob) {
  if (!key) return bad_key("the key is damaged or of a type that cannot be used", "ed25519, ecdsa and RSA keys can");
  std::string blob = public_blob(key.get());
  if (blob.empty()) return bad_key("keys of this type cannot be used", "ed25519, ecdsa and RSA keys can");
  if (!expected_blob.empty() && blob != expected_blob)
    return bad_key("its public and private halves do not belong together");
  if (EVP_PKEY_get_base_id(key.get()) == EVP_PKEY_RSA && EVP_PKEY_get_bits(key.get()) < kRsaBitsMinimum) {
    return bad_key("RSA keys of less than 2048 bits are not used", "ssh-keygen -t ed25519 makes a better one");
  }
  KeyFile file;
  file.public_blob = blob;
  file.encrypted = encrypted;
  file.key = std::make_shared<const PrivateKey>(std::move(key), std::move(blob));
  return file;
}

struct CipherChoice {
  const char* name;
  const EVP_CIPHER* (*cipher)();
  std::size_t key;
  std::size_t iv;
};
constexpr std::array<CipherChoice, 6> kCiphers = {{{"aes256-ctr", EVP_aes_256_ctr, 32, 16},
                                                   {"aes192-ctr", EVP_aes_192_ctr, 24, 16},
                                                   {"aes128-ctr", EVP_aes_128_ctr, 16, 16},
                                                   {"aes256-cbc", EVP_aes_256_cbc, 32, 16},
                                                   {"aes192-cbc", EVP_aes_192_cbc, 24, 16},
                                                   {"aes128-cbc", EVP_aes_128_cbc, 16, 16}}};

/// Decrypts the private section in place of `text`. False for another cipher or damaged parameters.
bool decrypt(std::string& text, std::string_view cipher, std::string_view kdf_options, std::string_view passphrase) {
  WireReader options(kdf_options);
  const auto salt = options.string();
  const auto rounds = options.u32();
  if (!rounds) return false;
  for (const CipherChoice& choice : kCiphers) {
    if (cipher != choice.name) continue;
    Sensitive key(bcrypt_pbkdf(passphrase, *salt, *rounds, choice.key + choice.iv));
    if (key.text.empty()) return false;
    const CipherContext context(EVP_CIPHER_CTX_new());
    Sensitive plain(std::string(text.size() + 32, '\0'));
    int written = 0;
    if (!context ||
        EVP_DecryptInit_ex(context.get(), choice.cipher(), nullptr, raw(key.text), raw(key.text) + choice.key) == 0 ||
        EVP_CIPHER_CTX_set_padding(context.get(), 0) == 0 ||
        EVP_DecryptUpdate(context.get(), reinterpret_cast<unsigned char*>(plain.text.data()), &written, raw(text),
                          static_cast<int>(text.size())) == 0 ||
        written != static_cast<int>(text.size())) {
      return false;
    }
    text.assign(plain.text, 0, text.size());
    return true;
  }
  return false;
}

/// PROTOCOL.key of OpenSSH.
core::Result<KeyFile> parse_openssh(std::string_view body, std::string_view passphrase) {
  std::string encoded;
  for (const std::string_view line : core::lines(body)) encoded += core::trim(line);
  auto decoded = core::base64_decode(encoded);
  core::wipe(encoded);
  if (!decoded) return bad_key("the key file is damaged (base64)");
  const Sensitive content(std::move(*decoded));
  WireReader reader(content.text);
  const auto magic = reader.bytes(kOpensshMagic.size());
  const auto cipher = reader.string();
  const auto kdf = reader.string();
  const auto kdf_options = reader.string();
  const auto count = reader.u32();
  const auto blob = reader.string();
  const auto sealed = reader.string();
  if (!sealed || *magic != kOpensshMagic || *count != 1) return bad_key("the key file is damaged");
  const bool encrypted = *cipher != "none";
  Sensitive section{std::string(*sealed)};
  if (encrypted) {
    if (passphrase.empty()) return KeyFile{.key = nullptr, .public_blob = std::string(*blob), .encrypted = true};
    if (*kdf != "bcrypt" || !decrypt(section.text, *cipher, *kdf_options, passphrase)) {
      return bad_key("the key is encrypted in a way that cannot be read (" + std::string(*cipher) + ")",
                     "ssh-keygen -p -f FILE writes it anew");
    }
  }
  WireReader fields(section.text);
  const auto check = fields.u32();
  const auto check_again = fields.u32();
  if (!check_again || *check != *check_again)
    return bad_key(encrypted ? "wrong passphrase" : "the key file is damaged");
  const std::string_view type = fields.string().value_or(std::string_view{});
  PKey key;
  if (type == "ssh-ed25519") {
    key = ed25519_key(fields);
  } else if (type == "ssh-rsa") {
    key = rsa_key(fields);
  } else if (type.substr(0, 11) == "ecdsa-sha2-") {
    key = ecdsa_key(fields);
  } else {
    return bad_key("keys of type " + core::clean(type) + " cannot be used", "ed25519, ecdsa and RSA keys can");
  }
  return usable(std::move(key), encrypted, *blob);
}

struct Asked {
  std::string_view passphrase;
  bool asked = false;
};

int give_passphrase(char* to, int size, int, void* data) {
  auto* asked = static_cast<Asked*>(data);
  asked->asked = true;
  if (asked->passphrase.empty() || asked->passphrase.size() > static_cast<std::size_t>(size)) return -1;
  std::memcpy(to, asked->passphrase.data(), asked->passphrase.size());
  return static_cast<int>(asked->passphrase.size());
}

core::Result<KeyFile> parse_pem(std::string_view text, std::string_view passphrase) {
  const Bio bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  Asked asked{.passphrase = passphrase};
  PKey key(PEM_read_bio_PrivateKey(bio.get(), nullptr, give_passphrase, &asked));
  ERR_clear_error();
  if (key) return usable(std::move(key), asked.asked, {});
  if (!asked.asked) return bad_key("not a private key");
  if (passphrase.empty()) return KeyFile{.key = nullptr, .public_blob = {}, .encrypted = true};
  return bad_key("wrong passphrase");
}

std::string ecdsa_inner(std::string_view der) {
  const unsigned char* at = raw(der);
  const EcdsaSignature signature(d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(der.size())));
  if (!signature) return {};
  std::string inner;
  for (const BIGNUM* part : {ECDSA_SIG_get0_r(signature.get()), ECDSA_SIG_get0_s(signature.get())}) {
    std::string bytes(static_cast<std::size_t>(BN_num_bytes(part)), '\0');
    BN_bn2bin(part, reinterpret_cast<unsigned char*>(bytes.data()));
    put_mpint(inner, bytes);
  }
  return inner;
}

}  // namespace

std::string PrivateKey::sign(std::string_view algorithm, std::string_view data) const {
  struct Method {
    const char* algorithm;
    const char* key_type;
    const EVP_MD* (*digest)();
  };
  static constexpr std::array<Method, 6> kMethods = {{{"ssh-ed25519", "ssh-ed25519", nullptr},
                                                      {"ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256", EVP_sha256},
                                                      {"ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384", EVP_sha384},
                                                      {"ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521", EVP_sha512},
                                                      {"rsa-sha2-256", "ssh-rsa", EVP_sha256},
                                                      {"rsa-sha2-512", "ssh-rsa", EVP_sha512}}};
  for (const Method& method : kMethods) {
    if (algorithm != method.algorithm || blob_type(public_blob_) != method.key_type) continue;
    const DigestContext context(EVP_MD_CTX_new());
    std::size_t size = 0;
    if (!context ||
        EVP_DigestSignInit(context.get(), nullptr, method.digest == nullptr ? nullptr : method.digest(), nullptr,
                           key_.get()) <= 0 ||
        EVP_DigestSign(context.get(), nullptr, &size, raw(data), data.size()) <= 0) {
      return {};
    }
    std::string signature(size, '\0');
    if (EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size, raw(data),
                       data.size()) <= 0) {
      return {};
    }
    signature.resize(size);
    return algorithm.substr(0, 6) == "ecdsa-" ? ecdsa_inner(signature) : signature;
  }
  return {};
}

core::Result<KeyFile> parse_key(std::string_view text, std::string_view passphrase) {
  const std::size_t begin = text.find(kOpensshBegin);
  if (begin == std::string_view::npos) return parse_pem(text, passphrase);
  const std::size_t body = begin + kOpensshBegin.size();
  const std::size_t end = text.find(kOpensshEnd, body);
  if (end == std::string_view::npos) return bad_key("the key file is cut off");
  return parse_openssh(text.substr(body, end - body), passphrase);
}

std::string parse_public_key(std::string_view text) {
  const auto fields = core::split(core::trim(text.substr(0, text.find('\n'))), ' ');
  if (fields.size() < 2) return {};
  auto blob = core::base64_decode(fields[1]);
  return blob && blob_type(*blob) == fields[0] ? *blob : std::string{};
}

}  // namespace deployrun::ssh

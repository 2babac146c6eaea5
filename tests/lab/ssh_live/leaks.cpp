// What the leak sanitizer may overlook: libssh2 1.11.1 forgets the previous copy of the host key (51 bytes for ed25519)
// whenever curve25519 runs a second time or is cut off. Nothing else of it, nothing of ours.
extern "C" const char* __lsan_default_suppressions();  // NOLINT: the sanitizer's name
extern "C" const char* __lsan_default_suppressions() { return "leak:kex_method_curve25519_key_exchange\n"; }

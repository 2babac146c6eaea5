#include "core/hardening.hpp"

#include <sys/prctl.h>
#include <sys/resource.h>

namespace deployrun::core {

void keep_memory_private() noexcept {
  const rlimit none{.rlim_cur = 0, .rlim_max = 0};
  ::setrlimit(RLIMIT_CORE, &none);
  // A limit of 0 does not stop a core_pattern that is a pipe (core(5)); this does.
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

}  // namespace deployrun::core

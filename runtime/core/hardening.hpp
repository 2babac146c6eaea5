// What keeps a process's memory to itself.
#pragma once

namespace deployrun::core {

/// From here on no crash writes our memory to a disk, and no other process of this user reads it. Programs that we
/// start get neither from us: the first is inherited, the second ends with exec.
void keep_memory_private() noexcept;

}  // namespace deployrun::core

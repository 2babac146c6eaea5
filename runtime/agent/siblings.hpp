// The agents of other versions beside this one in ~/.deployrun.
#pragma once

namespace deployrun::agent {

/// Marks this program's file as used now and for as long as it runs, and removes the siblings that nobody runs and
/// nobody has used for a day: two versions that are used in turn are not sent each time. Only where this program is
/// called agent-<hash>. Best effort.
void tend_siblings();

}  // namespace deployrun::agent

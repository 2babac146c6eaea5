-- A Kamal project, as it is: the same config/deploy.yml, secrets and hooks, the same servers, without Ruby.
--
--   deployrun recipes/kamal.lua deploy --skip-push      what `kamal deploy --skip-push` does
--   deployrun recipes/kamal.lua plan deploy -P          what it would change, as commands, without changing it
--   deployrun recipes/kamal.lua rollback                to the version before, in a second
--   deployrun recipes/kamal.lua app exec --reuse 'bin/rails about'
--
-- Needs: config/deploy.yml in the folder it is run in, SSH to the servers. docs/kamal.md: what is here, what differs.
-- Interrupted? `deployrun recipes/kamal.lua --resume` finishes the run, `--abort` undoes it.

local kamal = require "kamal"

kamal.declare()

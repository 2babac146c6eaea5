--- What the proxies that are told by files have in common.

local folder = require "proxy.folder"
local test = require "test"

test.it("counts established connections of the proxy to a port, v4 and v6", function()
  local tables = [[
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 030012AC:0050 020012AC:A1B2 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 30 10 -1
   2: 030012AC:0050 020012AC:A1B3 06 00000000:00000000 00:00000000 00000000     0        0 0 3 0
   3: 030012AC:A1B4 020012AC:0050 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 30 10 -1
  sl  local_address                         remote_address                        st
   0: 0000000000000000FFFF0000030012AC:0050 0000000000000000FFFF0000020012AC:C001 01 00000000:00000000 00:00000000
]]
  test.equal(folder.count_connections(tables, 80, "172.18.0.2"), 2)
  test.equal(folder.count_connections(tables, 80, "172.18.0.9"), 0)
  test.equal(folder.count_connections(tables, 80, ""), 2)
  test.equal(folder.count_connections(tables, 3000, "172.18.0.2"), 0)
  test.equal(folder.count_connections("", 80, "172.18.0.2"), 0)
end)

-- Everything luacheck can see is an error: an undeclared global, a shadowed or unused name, a line past 120 characters.
std = "luajit"
max_line_length = 120
max_code_line_length = 120
self = false  -- a method need not look at its object
exclude_files = { "build", ".deployrun" }

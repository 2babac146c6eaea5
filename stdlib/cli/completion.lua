--- `deployrun completion bash|zsh|fish`: scripts made from the one table of commands and options. What a recipe adds
--- (its commands and their parameters) they ask for when it stands on the line: `deployrun completion bash --of FILE`.

local command = require "deploy.command"
local fail = require "native.fail"
local recipe = require "cli.recipe"
local report = require "native.report"

local M = {}

local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

--- The first words of the commands, each once, and what follows those of two words: `host` → `trust`.
local function words_of(request)
  local firsts, seconds = {}, {}
  for _, row in ipairs(request.commands) do
    local first, second = row.name:match("^(%S+) ?(%S*)$")
    if row.name ~= "RECIPE" and not seconds[first] then
      firsts[#firsts + 1] = { word = first, help = row.help }
      seconds[first] = {}
    end
    if second ~= "" then table.insert(seconds[first], second) end
  end
  return firsts, seconds
end

local function first_words(request)
  local words = {}
  for index, first in ipairs((words_of(request))) do words[index] = first.word end
  return table.concat(words, " ")
end

--- A line of a shell's `case` for each first word that another one follows.
local function group_cases(request, form)
  local firsts, seconds = words_of(request)
  local out = {}
  for _, first in ipairs(firsts) do
    local after = seconds[first.word]
    if #after > 0 then out[#out + 1] = form:format(first.word, table.concat(after, " ")) end
  end
  return table.concat(out, "\n")
end

--- For each command a line of a shell's `case`: its options, and what its words may be.
local function each_command(request, fn)
  local out = {}
  for _, row in ipairs(request.commands) do
    local options, values = {}, {}
    for _, option in ipairs(row.options) do
      options[#options + 1] = "--" .. option.name
      if option.letter then options[#options + 1] = "-" .. option.letter end
      if option.value then values[#values + 1] = option end
    end
    out[#out + 1] = fn(row, options, values)
  end
  return table.concat(out, "\n")
end

local function value_cases(request)
  local seen, out = {}, {}
  for _, row in ipairs(request.commands) do
    for _, option in ipairs(row.options) do
      if option.value and not seen[option.name] then
        seen[option.name] = true
        local flags = option.choices and "-W " .. quoted((option.choices:gsub("|", " ")))
          or ({ DIR = "-d", FILE = "-f", RECIPE = "-f" })[option.value]
        local action = flags and ("COMPREPLY=($(compgen %s -- \"$cur\"))"):format(flags) or ":"
        out[#out + 1] = ("    --%s%s) %s; return ;;"):format(option.name,
          option.letter and "|-" .. option.letter or "", action)
      end
    end
  end
  return table.concat(out, "\n")
end

local function words_action(words)
  local choices = words:match("^([%l]+|[%l|]+)$")
  if choices then return ("COMPREPLY+=($(compgen -W %s -- \"$cur\"))"):format(quoted((choices:gsub("|", " ")))) end
  if words:match("RECIPE") or words:match("FILE") then return "COMPREPLY+=($(compgen -f -- \"$cur\"))" end
  if words:match("DIR") then return "COMPREPLY+=($(compgen -d -- \"$cur\"))" end
  return ":"
end

local BASH = [==[
# bash completion of deployrun: source it, or keep it as bash-completion/completions/deployrun.
_deployrun() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]}
  COMPREPLY=()
  compopt -o filenames 2>/dev/null
  if ((COMP_CWORD == 1)); then
    COMPREPLY=($(compgen -W '@WORDS@ --help --version' -- "$cur"))
    COMPREPLY+=($(compgen -f -X '!*.lua' -- "$cur") $(compgen -d -- "$cur"))
    return
  fi
  case "$prev" in
@VALUES@
  esac
  case "$command" in
@GROUPS@
  esac
  case "$command" in
@CASES@
    *)
      local kind name said
      while IFS=$'\t' read -r kind name said; do
        case "$kind" in
          command) ((COMP_CWORD == 2)) && COMPREPLY+=($(compgen -W "$name" -- "$cur")) ;;
          param)
            [[ ${COMP_WORDS[2]} == "${name%% *}" || ${COMP_WORDS[2]} == -* ]] &&
              COMPREPLY+=($(compgen -W "${name#* }" -- "$cur"))
            ;;
        esac
      done < <("${COMP_WORDS[0]}" completion bash --of "$command" 2>/dev/null)
      COMPREPLY+=($(compgen -W '@RECIPE@' -- "$cur"))
      ;;
  esac
}
complete -F _deployrun deployrun
]==]

local ZSH = [==[
#compdef deployrun
# zsh completion of deployrun: keep it as _deployrun in a folder of $fpath.
_deployrun() {
  local -a commands options
  commands=(
@COMMANDS@
  )
  if (( CURRENT == 2 )); then
    _describe -t commands command commands
    _files -g '*.lua'
    return
  fi
  local command=${words[2]}
  case "$command" in
@GROUPS@
  esac
  case "$command" in
@CASES@
    *)
      local kind name said
      local -a found
      while IFS=$'\t' read -r kind name said; do
        case "$kind" in
          command) (( CURRENT == 3 )) && found+=("${name//:/\\:}:$said") ;;
          param) [[ ${words[3]} == "${name%% *}" || ${words[3]} == -* ]] && found+=("${name#* }:$said") ;;
        esac
      done < <("${words[1]}" completion zsh --of "${words[2]}" 2>/dev/null)
      (( $#found )) && _describe -t recipe recipe found
      options=(@RECIPE@)
      _describe -t options option options
      ;;
  esac
}
if [[ $funcstack[1] == _deployrun ]]; then _deployrun "$@"; else compdef _deployrun deployrun; fi
]==]

local function described(option)
  return quoted(("--%s:%s"):format(option.name, (option.help:gsub(":", "\\:"))))
end

local function bash(request)
  local cases = each_command(request, function(row, options)
    if row.name == "RECIPE" then return nil end
    return ("    %s) COMPREPLY=($(compgen -W %s -- \"$cur\")); [[ $cur == -* ]] || { %s; } ;;"):format(quoted(row.name),
      quoted(table.concat(options, " ")), words_action(row.words))
  end)
  local recipe_options = {}
  for _, option in ipairs(request.commands[1].options) do recipe_options[#recipe_options + 1] = "--" .. option.name end
  local groups = group_cases(request, "    %s) if ((COMP_CWORD == 2)); then "
    .. "COMPREPLY=($(compgen -W '%s' -- \"$cur\")); return; fi; command+=\" ${COMP_WORDS[2]}\" ;;")
  return (BASH:gsub("@(%u+)@", { WORDS = first_words(request), VALUES = value_cases(request), CASES = cases,
    GROUPS = groups, RECIPE = table.concat(recipe_options, " ") }))
end

local function zsh(request)
  local commands, recipe_options = {}, {}
  for _, first in ipairs((words_of(request))) do
    commands[#commands + 1] = "    " .. quoted(("%s:%s"):format(first.word, (first.help:gsub(":", "\\:"))))
  end
  for _, option in ipairs(request.commands[1].options) do recipe_options[#recipe_options + 1] = described(option) end
  local cases = each_command(request, function(row)
    if row.name == "RECIPE" then return nil end
    local options = {}
    for _, option in ipairs(row.options) do options[#options + 1] = described(option) end
    local choices = row.words:match("^([%l]+|[%l|]+)$")
    local words = choices and ("compadd %s"):format((choices:gsub("|", " ")))
      or (row.words:match("DIR") and not row.words:match("FILE")) and "_files -/"
      or row.words:match("RECIPE") and "_files -g '*.lua'" or row.words:match("FILE") and "_files" or ":"
    return ("    %s) options=(%s); _describe -t options option options; %s ;;"):format(quoted(row.name),
      table.concat(options, " "), words)
  end)
  local groups = group_cases(request,
    "    %s) if (( CURRENT == 3 )); then compadd %s; return; fi; command+=\" ${words[3]}\" ;;")
  return (ZSH:gsub("@(%u+)@", { COMMANDS = table.concat(commands, "\n"), CASES = cases, GROUPS = groups,
    RECIPE = table.concat(recipe_options, " ") }))
end

local function fish_option(row, option)
  local line = ("complete -c deployrun -n %s -l %s -d %s"):format(
    quoted(row.name == "RECIPE" and "__deployrun_recipe" or "__deployrun_is " .. row.name), option.name,
    quoted(option.help))
  if option.letter then line = line .. " -s " .. option.letter end
  if option.choices then line = line .. " -x -a " .. quoted((option.choices:gsub("|", " ")))
  elseif option.value == "DIR" then line = line .. " -x -a '(__fish_complete_directories)'"
  elseif option.value then line = line .. " -r" end
  return line
end

local FISH = [==[
# fish completion of deployrun: keep it as completions/deployrun.fish.
function __deployrun_first
  test (count (commandline -opc)) -eq 1
end
function __deployrun_is
  set -l words (commandline -opc)
  set -l last (math 1 + (count $argv))
  test (count $words) -ge $last; and test "$words[2..$last]" = "$argv"
end
function __deployrun_recipe
  set -l words (commandline -opc)
  test (count $words) -gt 1; and not contains -- "$words[2]" @WORDS@
end
function __deployrun_of
  set -l words (commandline -opc)
  set -l tab (printf '\t')
  for line in ($words[1] completion fish --of $words[2] 2>/dev/null)
    set -l part (string split $tab -- $line)
    switch $part[1]
      case command
        test (count $words) -eq 2; and printf '%s\t%s\n' $part[2] $part[3]
      case param
        set -l name (string split -m 1 ' ' -- $part[2])
        if test (count $words) -gt 2; and test "$words[3]" = "$name[1]"; or string match -q -- '-*' "$words[3]"
          printf '%s\t%s\n' $name[2] $part[3]
        end
    end
  end
end
complete -c deployrun -n __deployrun_first -k -a '(__fish_complete_suffix .lua)'
complete -c deployrun -n __deployrun_first -l help -l version
complete -c deployrun -n __deployrun_recipe -f -a '(__deployrun_of)'
]==]

local function fish(request)
  local lines = { (FISH:gsub("@WORDS@", first_words(request))) }
  local firsts, seconds = words_of(request)
  for _, first in ipairs(firsts) do
    lines[#lines + 1] = ("complete -c deployrun -n __deployrun_first -f -a %s -d %s"):format(first.word,
      quoted(first.help))
    if #seconds[first.word] > 0 then
      lines[#lines + 1] = ("complete -c deployrun -n '__deployrun_is %s; and test (count (commandline -opc)) -eq 2' "
        .. "-f -a %s"):format(first.word, quoted(table.concat(seconds[first.word], " ")))
    end
  end
  for _, row in ipairs(request.commands) do
    if row.name ~= "RECIPE" then
      local choices = row.words:match("^([%l]+|[%l|]+)$")
      if choices then
        lines[#lines + 1] = ("complete -c deployrun -n '__deployrun_is %s' -x -a %s"):format(row.name,
          quoted((choices:gsub("|", " "))))
      end
    end
    for _, option in ipairs(row.options) do lines[#lines + 1] = fish_option(row, option) end
  end
  return table.concat(lines, "\n")
end

local SCRIPTS = { bash = bash, zsh = zsh, fish = fish }

--- What a recipe adds, a line each: `command NAME TAB help`, `param COMMAND --NAME TAB help`.
local function of_recipe(path)
  local found = recipe.read(path)
  local lines = {}
  local function add(kind, name, help)
    lines[#lines + 1] = ("%s\t%s\t%s"):format(kind, name, ((help or ""):gsub("[\t\n]", " ")))
  end
  for _, declared in ipairs(found.registry.list) do
    add("command", declared.name, declared.help)
    for _, name in ipairs(command.parameter_names(declared)) do
      add("param", ("%s --%s"):format(declared.name, name), declared.params[name:gsub("-", "_")].help)
    end
  end
  return table.concat(lines, "\n")
end

--- @async
--- @param request CliRequest
--- @return integer exit_code
function M.main(request)
  local shell = request.words[1]
  if request.options.of then
    report.text(of_recipe(request.options.of))
    return 0
  end
  if not SCRIPTS[shell] then
    local err = fail.make("usage", ("no completion for `%s`"):format(shell), { hint = "bash, zsh or fish" })
    report.emit { type = "error", error = err }
    return 2
  end
  report.text(SCRIPTS[shell](request))
  return 0
end

return M

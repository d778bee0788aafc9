import type { Completion } from './completion.ts';

/** Completion scripts. Each asks `clrk __complete SHELL WORDS...`, so that they know nothing of commands themselves. */

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** The first line says whether paths are offered too; then one candidate a line, a tab, and what it is. */
export const answerLines = ({ candidates, paths }: Completion): string =>
  [`:${paths ?? 'none'}`, ...candidates.map(({ value, about }) => `${value}\t${about.replace(/\s+/g, ' ')}`), ''].join('\n');

/** bash cuts words at `=` and `:`; here they are put together again, and what is offered is cut in the same way. */
const BASH = `# bash completion of clrk. Load it with: source <(clrk completion bash)
_clrk() {
  local IFS=$'\\n' current=\${COMP_WORDS[COMP_CWORD]} words=() word glue=0 lines line paths prefix
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD}"; do
    if [[ $word == = || $word == : ]] && (( \${#words[@]} )); then
      words[\${#words[@]}-1]+=$word
      glue=1
    elif (( glue )); then
      words[\${#words[@]}-1]+=$word
      glue=0
    else
      words+=("$word")
    fi
  done
  COMPREPLY=()
  mapfile -t lines < <("\${COMP_WORDS[0]/#\\~/$HOME}" __complete bash "\${words[@]}" 2>/dev/null)
  paths=\${lines[0]}
  word=\${words[\${#words[@]}-1]}
  [[ $current == = || $current == : ]] && current=
  prefix=\${word%"$current"}
  for line in "\${lines[@]:1}"; do
    line=\${line%%$'\\t'*}
    COMPREPLY+=("\${line#"$prefix"}")
  done
  if [[ $paths == :file ]]; then
    compopt -o filenames 2>/dev/null
    mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$current")
  elif [[ $paths == :directory ]]; then
    compopt -o filenames 2>/dev/null
    mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "$current")
  fi
}
complete -F _clrk clrk
`;

const ZSH = `#compdef clrk
# zsh completion of clrk. Load it with: source <(clrk completion zsh), after compinit.
_clrk() {
  local -a lines offers
  local line
  lines=("\${(@f)$("\${~words[1]}" __complete zsh "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  for line in "\${(@)lines[2,-1]}"; do
    [[ -n $line ]] && offers+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
  done
  (( \${#offers} )) && _describe -V clrk offers
  case $lines[1] in
    :file) _files ;;
    :directory) _files -/ ;;
  esac
}
if [[ \${funcstack[1]-} == _clrk ]]; then
  _clrk
else
  compdef _clrk clrk
fi
`;

const FISH = `# fish completion of clrk. Load it with: clrk completion fish | source
function __clrk_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l lines (eval $words[1] __complete fish (string escape -- $words[2..-1] $current) 2>/dev/null)
    switch "$lines[1]"
        case ':file'
            __fish_complete_path $current
        case ':directory'
            __fish_complete_directories $current
    end
    printf '%s\\n' $lines[2..-1]
end
complete -c clrk -f -a '(__clrk_complete)'
`;

export const SCRIPTS: Readonly<Record<Shell, string>> = { bash: BASH, zsh: ZSH, fish: FISH };

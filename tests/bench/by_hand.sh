#!/usr/bin/env bash
# A deploy as somebody writes it without a tool: ssh with a shared connection, the docker command, all servers at a time.
#
#   by_hand.sh deploy|rollback CONFIG SERVICE PUBLIC_HOST IMAGE NEW OLD OLDEST SERVER …
#
# CONFIG is an ssh configuration, or "-": this is the server, and ssh is not needed. NEW, OLD and OLDEST are versions
# (OLD and OLDEST may be "-").
set -euo pipefail
what=$1 config=$2 service=$3 public=$4 image=$5 new=$6 old=$7 oldest=$8
shift 8
sockets=$(mktemp -d)
trap 'rm -rf "$sockets"' EXIT
share=(-F "$config" -o "ControlPath=$sockets/%n")

on() {  # SERVER COMMAND
  if [ "$config" = - ]; then sh -c "$2" >/dev/null; else ssh "${share[@]}" "$1" "$2" >/dev/null; fi
}

everywhere() {  # COMMAND: on all servers at a time
  local server jobs=()
  for server in "${servers[@]}"; do on "$server" "$1" & jobs+=($!); done
  for job in "${jobs[@]}"; do wait "$job"; done
}

servers=("$@")
if [ "$config" != - ]; then
  for server in "${servers[@]}"; do ssh "${share[@]}" -o ControlMaster=yes -fN "$server" & done
  wait
fi

if [ "$what" = deploy ]; then
  everywhere "docker pull -q $image:$new"
  everywhere "docker run -d --name $service-$new --network kamal --restart unless-stopped $image:$new"
else
  everywhere "docker start $service-$new"
fi
everywhere "until curl -fsm 1 http://\$(docker inspect -f '{{.NetworkSettings.Networks.kamal.IPAddress}}' $service-$new)/up; do sleep 0.1; done 2>/dev/null"
everywhere "docker exec kamal-proxy kamal-proxy deploy $service --target $service-$new:80 --host $public --health-check-interval 100ms"
[ "$old" = - ] || everywhere "docker stop $service-$old"
[ "$oldest" = - ] || everywhere "docker rm $service-$oldest && docker image rm $image:$oldest"
if [ "$config" != - ]; then
  for server in "${servers[@]}"; do ssh "${share[@]}" -O exit "$server" 2>/dev/null; done
fi

# What somebody does by hand who has an OCI runtime and nginx: DIRECTORY RUNTIME, then one function call per line of
# standard input; prints the status of each.
set -u
dir=$1
runtime() { command "$program" --root "$dir/state" "$@"; }
program=$2
umount /sys/fs/cgroup/unified 2>/dev/null || true

# One container from nothing to nothing: BUNDLE ID.
cycle() {
  runtime run --bundle "$1" "$2" <"$dir/empty" >>"$dir/log" 2>&1
}

# An app from its image's unpacked layer to its address: ID NUMBER NGINX-DIRECTORY LISTEN-ADDRESS.
up() {
  local id=$1 number=$2 nginx=$3 listen=$4 bundle=$dir/$1 pid config begun=${EPOCHREALTIME/./}
  mkdir -p "$bundle/upper" "$bundle/work" "$bundle/rootfs" &&
    chown "$(<"$dir/owner")" "$bundle/upper" "$bundle/work" &&
    mount -t overlay -o "lowerdir=$dir/layer,upperdir=$bundle/upper,workdir=$bundle/work,volatile" overlay "$bundle/rootfs" &&
    config=$(<"$dir/template.json") && echo "${config//@ID@/$id}" >"$bundle/config.json" &&
    runtime create --bundle "$bundle" --pid-file "$bundle/pid" "$id" <"$dir/empty" >>"$dir/log" 2>&1 &&
    pid=$(<"$bundle/pid") &&
    ip -batch - >>"$dir/log" 2>&1 <<LINKS &&
link add sb$number type veth peer name eth0 netns $pid
addr add 198.18.$number.1/30 dev sb$number
link set sb$number up
LINKS
    nsenter --net="/proc/$pid/ns/net" ip -batch - >>"$dir/log" 2>&1 <<INSIDE &&
link set lo up
addr add 198.18.$number.2/30 dev eth0
link set eth0 up
route add default via 198.18.$number.1
INSIDE
    runtime start "$id" >>"$dir/log" 2>&1 &&
    echo "upstream $id { server 198.18.$number.2:8080; }
server { listen $listen; server_name $id.test; location / { proxy_pass http://$id; } }" >"$nginx/apps/$id.conf" &&
    kill -HUP "$(<"$nginx/nginx.pid")" &&
    echo $((${EPOCHREALTIME/./} - begun)) >"$dir/took"
}

# Removes it again: ID NUMBER NGINX-DIRECTORY.
down() {
  rm -f "$3/apps/$1.conf"
  kill -HUP "$(<"$3/nginx.pid")"
  runtime delete --force "$1" >>"$dir/log" 2>&1
  ip link del "sb$2" >>"$dir/log" 2>&1
  umount "$dir/$1/rootfs"
  rm -rf "${dir:?}/$1"
}

while read -r line; do
  [ "$line" = quit ] && break
  # Words without blanks, written by this program's other half.
  $line
  echo $?
done

# What a failed row left.
for id in "$dir"/state/*/; do
  [ -d "$id" ] && runtime delete --force "$(basename "$id")" >>"$dir/log" 2>&1
done
for link in $(ip -o link show type veth | grep -o ' sb[0-9]*@' | tr -d ' @'); do
  ip link del "$link"
done

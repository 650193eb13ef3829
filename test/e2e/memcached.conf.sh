# Starts the memcached under $work/root with four workers: sets $pid and $port.
port=$(free_port)
LD_LIBRARY_PATH=$(library_path "$work/root") start "$work/root/usr/bin/memcached" -u "$(id -un)" -l 127.0.0.1 -p "$port" -U 0 -t 4
listening "$port"

# Starts the haproxy under $work/root, master and worker, two threads, before an
# HTTP server of ours: sets $pid and $port.
back=$(free_port)
start "$load" serve "127.0.0.1:$back"
listening "$back"
port=$(free_port)
cat >"$work/haproxy.cfg" <<-C
	global
	    nbthread 2
	defaults
	    mode http
	    timeout connect 5s
	    timeout client 30s
	    timeout server 30s
	frontend in
	    bind 127.0.0.1:$port
	    http-request set-header X-From %[src]
	    default_backend out
	backend out
	    option httpchk GET /small
	    server one 127.0.0.1:$back check inter 500ms
C
LD_LIBRARY_PATH=$(library_path "$work/root") start "$work/root/usr/sbin/haproxy" -W -db -f "$work/haproxy.cfg"
listening "$port"
sleep 0.5 # until the master has its worker

# Starts the nginx under $work/root with two workers: sets $pid and $port.
port=$(free_port)
mkdir -p "$work/html" "$work/tmp"
echo "hello" >"$work/html/index.html"
seq 1 40000 >"$work/html/big.txt"
user=
[ "$(id -u)" = 0 ] && user="user root;" # the files are ours alone
cat >"$work/nginx.conf" <<-C
	$user
	daemon off;
	worker_processes 2;
	pid $work/nginx.pid;
	error_log $work/nginx-error.log warn;
	events { worker_connections 256; }
	http {
		access_log off;
		client_body_temp_path $work/tmp/body;
		proxy_temp_path $work/tmp/proxy;
		fastcgi_temp_path $work/tmp/fastcgi;
		uwsgi_temp_path $work/tmp/uwsgi;
		scgi_temp_path $work/tmp/scgi;
		gzip on;
		gzip_types text/plain;
		gzip_proxied any;
		server {
			listen 127.0.0.1:$port;
			root $work/html;
			default_type text/plain;
			keepalive_requests 50;
			location /proxy/ { proxy_pass http://127.0.0.1:$port/; }
		}
	}
C
LD_LIBRARY_PATH=$(library_path "$work/root") start "$work/root/usr/sbin/nginx" -e "$work/nginx-start.log" -p "$work" -c "$work/nginx.conf"
listening "$port"

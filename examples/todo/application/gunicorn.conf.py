"""gunicorn: one process, threads for requests. SIGTERM: no new connections, running requests are answered, then it ends with code 0."""

import os

import todo

bind = "0.0.0.0:8080"
workers = 1  # more hosts instead of more processes: the pool of connections belongs to a process
threads = 16
worker_class = "gthread"
worker_tmp_dir = "/tmp"
graceful_timeout = int(os.environ.get("GRACE_SECONDS", "25"))
timeout = 60
keepalive = 75  # longer than the load balancer keeps an idle connection: it is never the one surprised by a close
errorlog = "-"
loglevel = "warning"


def when_ready(server):
    todo.log("info", "started", version=os.environ.get("APP_VERSION", "0"))


def on_exit(server):
    todo.log("info", "stopped")

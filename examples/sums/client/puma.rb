# frozen_string_literal: true

# SIGTERM: no new connections, running requests are answered however long they take, exit code 0. The unit's grace period is the limit.
require "json"
require "time"

bind "tcp://0.0.0.0:#{ENV.fetch('PORT', '4567')}"
threads 16, 16
persistent_timeout 75 # longer than the load balancer keeps an idle connection: it is never the one surprised by a close
drain_on_shutdown true
raise_exception_on_sigterm false
log_formatter { |text| { time: Time.now.utc.iso8601(3), level: "info", message: text.strip }.to_json }
app do |env|
  require_relative "application"
  Application.call(env)
end

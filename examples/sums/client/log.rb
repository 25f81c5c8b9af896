# frozen_string_literal: true

require "json"
require "time"

# One JSON line per request, and on every answer who gave it. Health checks are logged only when they fail.
class Log
  def self.line(level, message, **details)
    $stdout.write("#{{ time: Time.now.utc.iso8601(3), level: level, message: message, **details }.to_json}\n")
    $stdout.flush
  end

  def initialize(app)
    @app = app
    @answered_by = { "X-App-Version" => ENV.fetch("APP_VERSION", "0"), "X-App-Host" => ENV.fetch("FLOTILLA_HOST", "local") }
  end

  def call(env)
    began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    status, headers, body = @app.call(env)
    unless status < 400 && env["PATH_INFO"].end_with?("z")
      Log.line("info", "request", method: env["REQUEST_METHOD"], path: env["PATH_INFO"], status: status,
                                  seconds: (Process.clock_gettime(Process::CLOCK_MONOTONIC) - began).round(3))
    end
    [status, headers.merge(@answered_by), body]
  end
end

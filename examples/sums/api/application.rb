# frozen_string_literal: true

# sums/api: adds up 1..n and keeps the last sum in redis. Private: only the client's hosts reach it. Settings, all from the environment:
#   REDIS_HOST, REDIS_PORT   where the last sum is kept; its password is the file `redis_password` in SECRETS (default /run/secrets)
#   FLOTILLA_HOST, APP_VERSION   who answers and which build it is (X-App-Host, X-App-Version)
#   SLOW_SUMS                long additions that may run at once (default 4); one more is answered 503
#   APP_FAULT                `unhealthy`: a build that never becomes ready, for tests of the deployment
require "sinatra/base"
require "redis"
require_relative "log"

# What the program does, without HTTP. `irb -r ./application.rb` has it at hand: Sums.last
module Sums
  class Busy < StandardError; end

  BIGGEST = 1_000_000_000
  SLOW = 1_000_000 # from here on an addition takes longer than a few milliseconds
  KEY = "sums:last"
  @running = Mutex.new
  @count = 0

  module_function

  # One connection for all threads; it connects when first used and again after redis was away.
  def redis
    @redis ||= Redis.new(
      host: ENV.fetch("REDIS_HOST", "127.0.0.1"), port: Integer(ENV.fetch("REDIS_PORT", "6379")),
      password: File.read(File.join(ENV.fetch("SECRETS", "/run/secrets"), "redis_password")).strip,
      connect_timeout: 1, timeout: 1, reconnect_attempts: 1
    )
  rescue Errno::ENOENT => e
    raise Redis::CannotConnectError, e.message
  end

  # The whole number in 1..BIGGEST that the text names, or nil.
  def parse(text)
    number = Integer(text.to_s, 10)
    number if number.between?(1, BIGGEST)
  rescue ArgumentError
    nil
  end

  # By hand on purpose: this system is about an api that needs the CPU. Four numbers at a time, so that the biggest ends within the 60 seconds that
  # a load balancer waits by default: 10 seconds on an idle machine, 30 on a busy one.
  def add_up(number)
    sum = index = 0
    while index + 4 <= number
      sum += 4 * index + 10
      index += 4
    end
    sum += index += 1 while index < number
    sum
  end

  # Ruby runs one thread at a time, so a long addition gets a process of its own, at low priority: /healthz is answered meanwhile.
  def add_up_apart(number)
    slot
    reader, writer = IO.pipe
    child = fork do
      Process.setpriority(Process::PRIO_PROCESS, 0, 10)
      writer.write(add_up(number).to_s)
      exit!(0)
    end
    writer.close
    Integer(reader.read)
  ensure
    if child
      reader.close
      Process.wait(child)
      @running.synchronize { @count -= 1 }
    end
  end

  def slot
    @running.synchronize do
      raise Busy, "#{@count} long sums run already" if @count >= Integer(ENV.fetch("SLOW_SUMS", "4"))

      @count += 1
    end
  end

  def sum(number)
    result = number < SLOW ? add_up(number) : add_up_apart(number)
    redis.set(KEY, result)
    result
  end

  def last
    Integer(redis.get(KEY) || 0)
  end
end

# The same over HTTP.
class Application < Sinatra::Base
  set environment: :production, show_exceptions: false, raise_errors: false, dump_errors: false, logging: false, protection: false
  use Log

  helpers do
    def json(status, value)
      halt status, { "Content-Type" => "application/json" }, "#{value.to_json}\n"
    end

    def healthy?
      ENV["APP_FAULT"] != "unhealthy"
    end
  end

  # The process answers; costs nothing.
  get("/healthz") { json(healthy? ? 200 : 500, status: healthy? ? "ok" : "unhealthy") }

  # It can do its work: redis lets it in.
  get "/readyz" do
    Sums.redis.ping
    json(healthy? ? 200 : 500, status: healthy? ? "ready" : "unhealthy")
  end

  get("/") { json(200, last: Sums.last) }

  post "/sum" do
    number = Sums.parse(params["n"]) || json(422, error: "n must be a whole number from 1 to #{Sums::BIGGEST}", n: params["n"])
    if number == 13 # the known bug: the whole process ends, as if all were well
      Log.line("error", "thirteen: ending")
      exit!(0)
    end
    json(200, n: number, sum: Sums.sum(number))
  end

  not_found { json(404, error: "nothing at #{request.request_method} #{request.path_info}") }

  error Redis::BaseError do |e|
    Log.line("error", "redis is away", reason: e.message)
    headers "Retry-After" => "1"
    json(503, error: "redis is away; this heals by itself")
  end

  error Sums::Busy do |e|
    headers "Retry-After" => "5"
    json(503, error: e.message)
  end

  error do |e|
    Log.line("error", "failed", reason: "#{e.class}: #{e.message}")
    json(500, error: "this failed; the log says why")
  end
end

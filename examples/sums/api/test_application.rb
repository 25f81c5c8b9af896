# frozen_string_literal: true

require "minitest/autorun"
require "net/http"
require "rack/test"
require "tmpdir"
require_relative "application"

SECRETS = Dir.mktmpdir
File.write("#{SECRETS}/redis_password", "for-tests\n")
ENV.update("SECRETS" => SECRETS, "REDIS_PORT" => "6399", "SLOW_SUMS" => "2", "APP_VERSION" => "9.9.9")

# A real redis, started and stopped by the tests.
module RealRedis
  def self.start
    arguments = %w[redis-server --port 6399 --requirepass for-tests --save --daemonize no --logfile] << "#{SECRETS}/log"
    @process = spawn(*arguments, out: File::NULL)
    50.times { Sums.redis.ping and return rescue sleep 0.1 }
    raise "redis-server does not start"
  end

  def self.stop
    return unless @process

    Process.kill("TERM", @process)
    Process.wait(@process)
    @process = nil
  end
end
Minitest.after_run { RealRedis.stop }
RealRedis.start

class ApplicationTest < Minitest::Test
  include Rack::Test::Methods

  def app = Application

  def body = JSON.parse(last_response.body)

  def test_a_sum_is_answered_and_remembered
    (1..9).each { |number| assert_equal (1..number).sum, Sums.add_up(number) }
    post "/sum", n: "10"
    assert_equal [200, { "n" => 10, "sum" => 55 }], [last_response.status, body]
    assert_equal "9.9.9", last_response.headers["X-App-Version"]
    get "/"
    assert_equal({ "last" => 55 }, body)
  end

  def test_what_is_not_a_number_in_range_is_refused
    ["", "x", "1.5", "0", "-1", "1000000001", "9" * 40, "1e9", "0x10"].each do |text|
      post "/sum", n: text
      assert_equal 422, last_response.status, text
    end
    post "/sum"
    assert_equal 422, last_response.status
    get "/nothing"
    assert_equal 404, last_response.status
  end

  def test_long_sums_are_limited_and_leave_the_health_path_alone
    slow = Array.new(2) { Thread.new { Rack::MockRequest.new(Application).post("/sum", params: { n: "200000000" }) } }
    sleep 0.4
    began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    get "/healthz"
    assert_equal 200, last_response.status
    assert_operator Process.clock_gettime(Process::CLOCK_MONOTONIC) - began, :<, 0.5
    post "/sum", n: "200000000"
    assert_equal 503, last_response.status
    post "/sum", n: "4"
    assert_equal 10, body["sum"]
    assert_equal [200, 200], slow.map { |thread| thread.value.status }
  end

  def test_without_redis_it_lives_is_not_ready_and_comes_back_by_itself
    RealRedis.stop
    [["/healthz", 200], ["/readyz", 503], ["/", 503]].each do |path, status|
      get path
      assert_equal status, last_response.status, path
    end
    post "/sum", n: "3"
    assert_equal 503, last_response.status
    RealRedis.start
    get "/readyz"
    assert_equal 200, last_response.status
  end

  def test_the_unhealthy_fault_fails_health_and_readiness
    ENV["APP_FAULT"] = "unhealthy"
    %w[/healthz /readyz].each do |path|
      get path
      assert_equal 500, last_response.status
    end
  ensure
    ENV.delete("APP_FAULT")
  end
end

# puma as the container runs it.
class ServerTest < Minitest::Test
  def setup
    @server = spawn({ "PORT" => "4599" }, "puma", "--config", "puma.rb", out: File::NULL)
    100.times { get("/healthz") and break rescue sleep 0.1 }
  end

  def teardown
    Process.kill("KILL", @server)
    Process.wait(@server)
  rescue Errno::ESRCH, Errno::ECHILD
    nil
  end

  def get(path) = Net::HTTP.get_response(URI("http://127.0.0.1:4599#{path}"))

  def sum(number) = Net::HTTP.post_form(URI("http://127.0.0.1:4599/sum"), "n" => number)

  def test_sigterm_lets_a_running_sum_finish
    slow = Thread.new { sum("200000000") }
    sleep 0.5
    Process.kill("TERM", @server)
    assert_equal "20000000100000000", JSON.parse(slow.value.body)["sum"].to_s
    assert_equal 0, Process.wait2(@server).last.exitstatus
  end

  def test_thirteen_ends_the_process_with_exit_code_0
    assert_raises(EOFError, Errno::ECONNRESET) { sum("13") }
    assert_equal 0, Process.wait2(@server).last.exitstatus
  end
end

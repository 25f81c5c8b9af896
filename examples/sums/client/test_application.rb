# frozen_string_literal: true

require "minitest/autorun"
require "rack/test"
require "socket"
require_relative "application"

# An api that gives each connection the next of these answers; nil hangs up, as a process that ends does.
class FakeApi
  attr_reader :asked

  def initialize(*answers)
    @asked = []
    @server = TCPServer.new("127.0.0.1", 0)
    ENV["API_URL"] = "http://127.0.0.1:#{@server.addr[1]}"
    @thread = Thread.new do
      answers.each { |answer| serve(@server.accept, answer) }
      @server.close
    end
  end

  def serve(socket, answer)
    first = socket.gets
    length = 0
    while (line = socket.gets) && line != "\r\n"
      length = line.split(":")[1].to_i if line.downcase.start_with?("content-length")
    end
    @asked << "#{first.split[0, 2].join(' ')} #{socket.read(length)}".strip
    status, body = answer
    socket.write("HTTP/1.1 #{status} x\r\nContent-Length: #{body.bytesize}\r\nConnection: close\r\n\r\n#{body}") if answer
    socket.close
  end
end

class ApplicationTest < Minitest::Test
  include Rack::Test::Methods

  def app = Application

  def answer(path)
    get path
    [last_response.status, last_response.body.strip]
  end

  def test_last_sum_and_your_sum
    api = FakeApi.new([200, '{"last":55}'], [200, '{"n":4,"sum":10}'])
    assert_equal [200, "Last sum was 55"], answer("/")
    assert_equal [200, "Your sum was 10"], answer("/?n=4")
    assert_equal ["GET /", "POST /sum n=4"], api.asked
  end

  def test_the_apis_refusals_are_passed_on
    FakeApi.new([422, '{"error":"n must be"}'], [503, '{"error":"redis is away"}'])
    assert_equal [422, "n must be"], answer("/?n=x")
    assert_equal [503, "redis is away"], answer("/?n=5")
  end

  def test_an_api_that_ends_is_asked_once_and_reported
    api = FakeApi.new(nil, [200, '{"sum":1}'])
    assert_equal 502, answer("/?n=13")[0]
    assert_equal ["POST /sum n=13"], api.asked
    assert_equal 200, answer("/?n=1")[0]
    assert_equal 502, answer("/")[0] # nobody listens any more
  end

  def test_health_does_not_need_the_api
    ENV["API_URL"] = "http://127.0.0.1:1"
    assert_equal 200, answer("/healthz")[0]
    ENV["APP_FAULT"] = "unhealthy"
    assert_equal 500, answer("/healthz")[0]
  ensure
    ENV.delete("APP_FAULT")
  end
end

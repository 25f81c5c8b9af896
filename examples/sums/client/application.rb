# frozen_string_literal: true

# sums/client: the public face of the api. Settings, all from the environment:
#   API_URL                  where the api answers
#   FLOTILLA_HOST, APP_VERSION   who answers and which build it is (X-App-Host, X-App-Version)
#   APP_FAULT                `unhealthy`: a build that never becomes healthy, for tests of the deployment
require "net/http"
require "sinatra/base"
require_relative "log"

# The api's answers. `irb -r ./application.rb` has it at hand: Api.last
module Api
  class Away < StandardError; end

  LONGEST = 170 # seconds; the slowest sum takes ten on an idle machine, and several share one

  module_function

  # [status, decoded JSON]. A sum is asked for once: whether one that got no answer was done nobody knows.
  def call(request)
    base = URI(ENV.fetch("API_URL", "http://127.0.0.1:4568"))
    answer = Net::HTTP.start(base.host, base.port, open_timeout: 2, read_timeout: LONGEST, max_retries: 0) { |http| http.request(request) }
    [answer.code.to_i, JSON.parse(answer.body)]
  rescue SystemCallError, SocketError, IOError, Timeout::Error, Net::ProtocolError, JSON::ParserError => e
    raise Away, "#{e.class}: #{e.message}"
  end

  def last
    call(Net::HTTP::Get.new("/"))
  end

  def sum(number)
    call(Net::HTTP::Post.new("/sum").tap { |request| request.set_form_data("n" => number) })
  end
end

# The page.
class Application < Sinatra::Base
  set environment: :production, show_exceptions: false, raise_errors: false, dump_errors: false, logging: false
  use Log

  before { content_type :text }

  # The process answers. The api is left out: its outage must not take every client out of service.
  get "/healthz" do
    healthy = ENV["APP_FAULT"] != "unhealthy"
    halt healthy ? 200 : 500, healthy ? "ok\n" : "unhealthy\n"
  end

  get "/" do
    status, answer = params.key?("n") ? Api.sum(params["n"]) : Api.last
    halt([422, 503].include?(status) ? status : 502, "#{answer['error']}\n") unless status == 200
    params.key?("n") ? "Your sum was #{answer['sum']}\n" : "Last sum was #{answer['last']}\n"
  end

  not_found { "nothing at #{request.path_info}\n" }

  error Api::Away do |e|
    Log.line("error", "the api did not answer", reason: e.message)
    halt 502, "The api did not answer; it will be back in seconds\n"
  end

  error do |e|
    Log.line("error", "failed", reason: "#{e.class}: #{e.message}")
    halt 500, "This failed; the log says why\n"
  end
end

# frozen_string_literal: true

# Answers HTTP/1.1 requests on stdin and stdout, one after another (the watchdog's mode `afterburn`), with Handler#run of
# function/handler.rb. It is given the body, an IO, and the request as Rack describes it (HTTP_ACCEPT, QUERY_STRING, ...), and
# returns the body of the answer, or the body, fields and status: `return "created", { "location" => "/7" }, 201`.

require "stringio"

FUNCTION = File.join(__dir__, "function")
MOST = 64 * 1024 * 1024 # bytes of a body
HEAD = 64 * 1024 # bytes of a line and of all fields
REASONS = Hash.new("Status").merge(200 => "OK", 400 => "Bad Request", 413 => "Content Too Large", 500 => "Internal Server Error")

# A request that cannot be answered and leaves the rest of stdin without meaning.
class Refused < StandardError
  attr_reader :status

  def initialize(status, message)
    super(message)
    @status = status
  end
end

# The requests on a stream.
class Requests
  def initialize(input)
    @input = input
  end

  # The next request in Rack's words and its body; nil at the end.
  def take
    first = @input.gets("\r\n", HEAD) or return nil
    method, target, = match(first, /\A(\S+) (\S+) HTTP\/1\.1\r\n\z/)
    path, query = target.split("?", 2)
    env = { "REQUEST_METHOD" => method, "PATH_INFO" => path, "QUERY_STRING" => query || "", "REQUEST_URI" => target,
            "SERVER_PROTOCOL" => "HTTP/1.1", "rack.url_scheme" => "http" }
    fields(env)
    [env, StringIO.new(body(env))]
  end

  private

  def fields(env)
    room = HEAD
    while (line = line()) != "\r\n"
      raise Refused.new(431, "too many header fields") if (room -= line.bytesize).negative?

      name, value = match(line, /\A([^\s:]+):[ \t]*(.*?)[ \t]*\r\n\z/n)
      key = name.upcase.tr("-", "_")
      key = "HTTP_#{key}" unless %w[CONTENT_TYPE CONTENT_LENGTH].include?(key)
      env[key] = env.key?(key) ? "#{env[key]}, #{value}" : value
    end
  end

  def body(env)
    return chunks if env["HTTP_TRANSFER_ENCODING"]

    exactly(Integer(env["CONTENT_LENGTH"] || "0", 10))
  end

  def chunks
    whole = String.new
    loop do
      size = match(line, /\A(\h{1,16})[ \t]*(?:;.*)?\r\n\z/n)[0].hex
      break if size.zero?

      whole << exactly(size, MOST - whole.bytesize)
      raise Refused.new(400, "a chunk is longer than it says") unless line == "\r\n"
    end
    nil until line == "\r\n" # trailers
    whole
  end

  def exactly(length, room = MOST)
    raise Refused.new(413, "the body has more than #{MOST} bytes") if length > room

    data = length.zero? ? String.new : @input.read(length)
    exit!(1) if data.nil? || data.bytesize < length # the client is gone
    data
  end

  def line
    @input.gets("\r\n", HEAD) || exit!(1)
  end

  def match(line, pattern)
    found = pattern.match(line) or raise Refused.new(400, "not HTTP: #{line[0, 80].inspect}")
    found.captures
  end
end

# The answers on a stream.
class Answers
  def initialize(output)
    @output = output
    @output.sync = false
  end

  def give(method, body, fields = {}, status = 200)
    body = body.to_s.b
    head = +"HTTP/1.1 #{Integer(status)} #{REASONS[status]}\r\n"
    fields = { "content-type" => "text/plain; charset=utf-8" }.merge(fields.transform_keys { |name| name.to_s.downcase })
    fields.each { |name, values| Array(values).each { |value| head << field(name, value.to_s) } }
    bodiless = [204, 304].include?(status)
    head << "Content-Length: #{body.bytesize}\r\n" unless bodiless
    @output.write(head.b, "\r\n", bodiless || method == "HEAD" ? "" : body)
    @output.flush
  end

  private

  # Framing is decided here, and a line break would begin a field of its own.
  def field(name, value)
    return "" if %w[content-length transfer-encoding].include?(name)
    fine = name.match?(/\A[!#$%&'*+.^_`|~0-9a-z-]+\z/) && !value.match?(/[\r\n\0]/)
    raise ArgumentError, "not a header field: #{name}: #{value.inspect}" unless fine

    "#{name.split('-').map(&:capitalize).join('-')}: #{value}\r\n"
  end
end

def unpacked(result)
  return [result, {}, 200] unless result.is_a?(Array) && result.size.between?(2, 3) && result[1].is_a?(Hash)

  [result[0], result[1], result[2] || 200]
end

def respond(handler, env, body, answers)
  return answers.give("OPTIONS", "") if env["REQUEST_METHOD"] == "OPTIONS" && env["PATH_INFO"] == "*"

  answers.give(env["REQUEST_METHOD"], *unpacked(handler.run(body, env)))
rescue StandardError, ScriptError, SystemStackError, SystemExit => e
  warn e.full_message(highlight: false)
  answers.give(env["REQUEST_METHOD"], "#{e.class}: #{e.message}\n", {}, 500)
end

# The two streams are kept to ourselves: what the function prints is its log, and nobody else reads its requests.
requests = Requests.new($stdin.dup.binmode)
answers = Answers.new($stdout.dup.binmode)
$stdin.reopen(File::NULL)
$stdout.reopen($stderr)
$stdout.sync = true

if File.exist?(File.join(FUNCTION, "Gemfile.lock"))
  ENV["BUNDLE_GEMFILE"] ||= File.join(FUNCTION, "Gemfile")
  require "bundler/setup"
end
$LOAD_PATH.unshift(FUNCTION)
require "handler"
handler = Handler.new

busy = stopping = false
trap("TERM") { busy ? stopping = true : exit!(0) }
begin
  until stopping
    env, body = requests.take
    break if env.nil?

    busy = true
    respond(handler, env, body, answers)
    busy = false
  end
rescue Refused => e
  answers.give("", "#{e.message}\n", { "connection" => "close" }, e.status)
  exit!(1)
end

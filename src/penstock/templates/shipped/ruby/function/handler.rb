# frozen_string_literal: true

# Greets whoever the body names. One object serves all requests, one at a time.
class Handler
  def run(body, _headers)
    name = body.read.strip
    return "Hello, #{name.empty? ? 'world' : name}!\n", { "content-type" => "text/plain; charset=utf-8" }, 200
  end
end

# frozen_string_literal: true

# Does what its path says.
class Handler
  def run(body, env)
    case env["PATH_INFO"]
    when "/print" then print
    when "/raise" then raise "broken"
    when "/exit" then exit 3
    when "/inject" then ["", { "a" => "b\r\nc: d" }, 200]
    when "/cookies" then ["x", { "set-cookie" => %w[a=1 b=2] }, 201]
    when "/nothing" then ["ignored", {}, 204]
    when "/status" then ["", {}, "abc"]
    when "/query" then env["QUERY_STRING"]
    when "/field" then env["HTTP_X_ONE"]
    when "/stdin" then $stdin.read
    when "/none" then nil
    else [body.read, { "content-type" => "application/octet-stream" }, 200]
    end
  end

  def print
    puts "to the log"
    system("echo from a child")
    "printed"
  end
end

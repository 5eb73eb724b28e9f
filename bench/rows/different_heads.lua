-- Every request has another path and another field value, so that nobody can answer from what a connection sent before.
local count = 0

function request()
  count = count + 1
  return wrk.format("GET", wrk.path .. "/" .. count, { ["X-Number"] = tostring(count) })
end

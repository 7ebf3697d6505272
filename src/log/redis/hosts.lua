-- The hosts that may still serve something, by the clock of this server, as name and heartbeat.
-- One whose heartbeat cannot be read may, for all we know.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local hosts, alive = redis.call('HGETALL', KEYS[4]), {}
for i = 1, #hosts, 2 do
  local at, staleness, rest = string.match(hosts[i + 1], '^(%d+) (%d+) (.*)$')
  if not at or now - at <= tonumber(staleness) then
    alive[#alive + 1] = hosts[i]
    alive[#alive + 1] = rest or ''
  end
end
return alive

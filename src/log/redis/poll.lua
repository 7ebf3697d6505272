-- Write a heartbeat if asked to, then read.
--
-- ARGV[2..5]: entries after this one, at most so many, longest body in bytes, bytes of bodies
-- after which no more are added. ARGV[6..9], with a heartbeat alone: host, the generation it is
-- in, the entry it has applied, its largest staleness in milliseconds.
if #ARGV > 5 then
  if not whole then
    begin()
  end
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  -- Workers of one host may have different settings, and a heartbeat of any is one of the host:
  -- whoever waits for it must wait for the one that serves longest.
  local longest = tonumber(ARGV[9])
  local before = redis.call('HGET', KEYS[4], ARGV[6])
  if before then
    local at, other = string.match(before, '^(%d+) (%d+) ')
    if at and tonumber(other) > longest and now - at <= tonumber(other) then
      longest = tonumber(other)
    end
  end
  local new = redis.call('HSET', KEYS[4], ARGV[6],
    string.format('%.0f %.0f %s %s', now, longest, ARGV[8], ARGV[7]))
  -- The table of hosts grows only when one is added; that is when the dead are looked for.
  if new == 1 then
    local hosts = redis.call('HGETALL', KEYS[4])
    for i = 1, #hosts, 2 do
      local at, staleness = string.match(hosts[i + 1], '^(%d+) (%d+) ')
      if at and now - at > 10 * staleness + 60000 then
        redis.call('HDEL', KEYS[4], hosts[i])
      end
    end
  end
elseif not whole then
  -- Nothing is written here, hence no life can begin; this name is never given again.
  life, last, first, there[1] = ARGV[1], '0', false, false
end

local most, entries, bytes = tonumber(ARGV[5]), {}, 0
local left, from, ended = tonumber(ARGV[3]), '(' .. ARGV[2] .. '-0', not there[1]
while not ended and left > 0 and bytes < most do
  local asked = math.min(left, 50)
  local some = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', asked)
  local taken = 0
  for _, entry in ipairs(some) do
    local fields, body = entry[2], ''
    if #fields == 2 and fields[1] == 'body' and #fields[2] <= tonumber(ARGV[4]) then
      body = fields[2]
    end
    entries[#entries + 1] = entry[1]
    entries[#entries + 1] = body
    bytes = bytes + #body
    taken = taken + 1
    from = '(' .. entry[1]
    if bytes >= most then
      break
    end
  end
  left = left - taken
  -- At the end: what is missing between here and `last` is nowhere.
  ended = taken == #some and #some < asked
end
return {generation(), last, first or '', ended and 1 or 0, entries}

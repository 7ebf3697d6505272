-- What the keys say, at the beginning of every script.
--
-- KEYS: log (a stream whose ids are <sequence>-0), sequence (the last number given), generation
-- (names this life of the stream), hosts (heartbeats). ARGV[1]: a random name for a life that may
-- have to begin.
--
-- `whole`: the keys belong to one life. The last number given is the id the stream gave last;
-- where it is not (the stream or the counter was deleted, everything was flushed, somebody else
-- added an entry, whatever its id), nobody can know what is missing.
local KINDS = {'stream', 'string', 'string', 'hash'}
local there = {}
for i, kind in ipairs(KINDS) do
  local found = redis.call('TYPE', KEYS[i]).ok
  if found ~= 'none' and found ~= kind then
    return redis.error_reply('NOTALOG ' .. KEYS[i] .. ' is a ' .. found .. ' and not a ' .. kind)
  end
  there[i] = found == kind
end

local life = redis.call('GET', KEYS[3])
if life and not string.match(life, '^%x+$') then
  return redis.error_reply('NOTALOG ' .. KEYS[3] .. ' does not hold the name of a generation')
end

-- Fifteen digits: a number of Lua holds them exactly.
local last = redis.call('GET', KEYS[2]) or '0'
if last ~= '0' and not (#last <= 15 and string.match(last, '^[1-9]%d*$')) then
  return redis.error_reply('NOTALOG ' .. KEYS[2] .. ' does not hold a number')
end

local newest, first = '0-0', false
if there[1] then
  local stream = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #stream, 2 do
    if stream[i] == 'last-generated-id' then
      newest = stream[i + 1]
    elseif stream[i] == 'first-entry' and stream[i + 1] then
      first = string.match(stream[i + 1][1], '^%d+')
    end
  end
end
local whole = life and newest == last .. '-0'

-- Which server this is, and since when it has been the primary: whoever takes over may not have
-- everything, and neither may a server that was started again.
local process = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local reign = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if not process or not reign then
  return redis.error_reply('NOTALOG the server does not say which one it is')
end

-- The name of this life; every life has another one, and so have two servers.
local function generation()
  return life .. '.' .. process .. '.' .. reign
end

-- Begin a new life. Heartbeats stay: those hosts may still serve something.
local function begin()
  -- First what needs memory: a script that has written something is no longer stopped.
  redis.call('SET', KEYS[3], ARGV[1])
  redis.call('DEL', KEYS[1], KEYS[2])
  life, last, first, whole, there[1] = ARGV[1], '0', false, true, false
end

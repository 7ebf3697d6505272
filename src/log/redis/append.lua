-- Append one entry. ARGV[2]: its body; ARGV[3]: how many entries are kept.
--
-- The first entry of all begins a life, too: whoever deletes the stream and the counter together
-- leaves a generation behind in which numbers would be given a second time.
if not whole or last == '0' then
  begin()
end
local sequence = string.format('%.0f', tonumber(last) + 1)
redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[3], sequence .. '-0', 'body', ARGV[2])
redis.call('SET', KEYS[2], sequence)
return {generation(), sequence}

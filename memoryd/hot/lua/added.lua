-- added: how many entries a stream has had since it began, those included that are gone.
-- KEYS  1 stream
-- Returns that number; 0 without a stream.
-- A script because XINFO STREAM would bring two whole entries along.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local flat = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #flat, 2 do
  if flat[i] == 'entries-added' then return flat[i + 1] end
end
return 0

-- claim: turn a published request into a stream entry, once, whichever daemon hears it first.
-- KEYS  1 claim  2 requests
-- ARGV  1 claim ttl  2 envelope  3 request id  4 reply_to
-- Returns the stream entry's id, or false when another daemon was first.
-- Atomic because a daemon that died between the claim and the entry would swallow the request.
if not redis.call('SET', KEYS[1], '1', 'NX', 'EX', ARGV[1]) then return false end
return redis.call('XADD', KEYS[2], '*', 'envelope', ARGV[2], 'id', ARGV[3], 'reply_to', ARGV[4])

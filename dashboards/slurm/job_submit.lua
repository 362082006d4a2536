-- Slurm's job_submit plugin in Lua: notes on each job what the placement hints say of its partition (admin_comment, seen in
-- `scontrol show job`). Where the job runs is decided by the node weights that `tramuntana slurm apply` keeps.
--
-- Install:  tramuntana slurm hook --api http://127.0.0.1:8080 > /etc/slurm/job_submit.lua
--           slurm.conf: JobSubmitPlugins=lua       Debian: apt-get install slurm-wlm-basic-plugins lua-socket
--
-- It never refuses, changes or holds up a job: the answer is waited for at most 250 ms in all; after a failure it is not
-- asked for again for 10 s; every error ends here.

local HOST, PORT = "127.0.0.1", 8080 -- an address, not a name: resolving one has no time limit
local TOKEN_FILE = nil -- its first line is a token of the role scheduler, where the service wants one
local LIMIT_S = 0.25
local PAUSE_S = 10

local ok, socket = pcall(require, "socket")
local rest_until = 0
local token
if TOKEN_FILE then
  local f = io.open(TOKEN_FILE)
  if f then
    token = (f:read("*l") or ""):match("^%s*(%S+)%s*$")
    f:close()
  end
end

local function ask(path)
  local deadline = socket.gettime() + LIMIT_S
  local c = socket.tcp()
  local function arm() c:settimeout(math.max(0.001, deadline - socket.gettime())) end
  local answer
  arm()
  if c:connect(HOST, PORT) then
    arm()
    local auth = token and ("Authorization: Bearer " .. token .. "\r\n") or ""
    if c:send("GET " .. path .. " HTTP/1.0\r\nHost: " .. HOST .. "\r\n" .. auth .. "\r\n") then
      local got = ""
      while socket.gettime() < deadline and #got < 8192 do
        arm()
        local data, err, part = c:receive(1024)
        got = got .. (data or part or "")
        if err == "closed" then answer = got end
        if err then break end
      end
    end
  end
  c:close()
  if not answer or not answer:match("^HTTP/1%.[01] 200") then return nil end
  return answer:match("\r\n\r\n(.*)$")
end

local function encode(s)
  return (s:gsub("[^%w%-_%.]", function(ch) return string.format("%%%02X", string.byte(ch)) end))
end

local function hint(job_desc)
  if not ok or socket.gettime() < rest_until then return end
  local partition = job_desc.partition or job_desc.default_partition
  local path = "/api/v1/placement/slurm" .. (partition and ("?partition=" .. encode(partition)) or "")
  local text = ask(path)
  if text == nil then
    rest_until = socket.gettime() + PAUSE_S
    return
  end
  text = text:match("^[^\r\n]*")
  if text ~= "" and (job_desc.admin_comment == nil or job_desc.admin_comment == "") then
    job_desc.admin_comment = text:sub(1, 400)
  end
end

function slurm_job_submit(job_desc, part_list, submit_uid)
  pcall(hint, job_desc)
  return slurm.SUCCESS
end

function slurm_job_modify(job_desc, job_rec, part_list, modify_uid)
  return slurm.SUCCESS
end

return slurm.SUCCESS

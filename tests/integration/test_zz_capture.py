import json, re, pathlib
from tests.integration.test_protocol_page import *
async def test_capture(page_world, terminal):
    page = PAGE.read_text()
    out=[]; pos=0; mid=None
    async with page_world.connect() as memory:
        for m in re.finditer(r"^```(console|json reply|json event)\n(.*?)^```$", page, re.S|re.M):
            out.append(page[pos:m.start()]); pos=m.end()
            kind,text=m[1],m[2]
            if mid: text=text.replace("mem_ID",mid)
            if kind=="console":
                await page_world.drained(memory); await terminal.type(text.strip())
            else:
                said=json.loads(await terminal.next({"json reply":"replies","json event":"events"}[kind]))
                mid=mid or said["result"]["id"]
                text=pretty(said)+"\n"
            out.append(f"```{kind}\n{text}```")
    out.append(page[pos:])
    pathlib.Path("/tmp/w/protocol_filled.md").write_text("".join(out))

def pretty(v, indent=0, width=118):
    flat=json.dumps(v,ensure_ascii=False)
    if len(flat)+indent<=width or not isinstance(v,(dict,list)): return flat
    pad=" "*(indent+2)
    if isinstance(v,list):
        return "[\n"+",\n".join(pad+pretty(x,indent+2) for x in v)+"\n"+" "*indent+"]"
    items=[f"{json.dumps(k)}: {pretty(x,indent+2+len(k)+4)if 0 else pretty(x,indent+2)}" for k,x in v.items()]
    lines=[];cur=""
    for it in items:
        if cur and ("\n" in it or len(pad)+len(cur)+len(it)+2>width):
            lines.append(cur); cur=it
        elif "\n" in it: lines.append(it); cur=""
        else: cur=cur+", "+it if cur else it
        if "\n" in cur: lines.append(cur); cur=""
    if cur: lines.append(cur)
    return "{\n"+",\n".join(pad+l for l in lines)+"\n"+" "*indent+"}"

/** A cable that delays and loses, for kernels without netem: frames go through a program. */

/**
 * Passes frames between the interfaces "near" and "far". Each line of its standard input says what is to become of what comes in at "far": the
 * delay in ms, and the share of both ways that is lost. With each frame goes what the kernel has left to be done to it (virtio_net_hdr).
 */
export const LINE = `
import heapq, random, select, socket, sys, time
SOL_PACKET, PACKET_VNET_HDR, PACKET_OUTGOING, ALL = 263, 15, 4, 0x0003
def door(name):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    s.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    s.bind((name, ALL))
    s.setblocking(False)
    return s
a, b = door("near"), door("far")
delay, lost, waiting, number = 0.0, 0.0, [], 0
print("ready", flush=True)
def send(s, frame):
    try:
        s.send(frame)
    except OSError:
        pass
while True:
    now = time.monotonic()
    while waiting and waiting[0][0] <= now:
        _, _, frame = heapq.heappop(waiting)
        send(a, frame)
    wait = waiting[0][0] - now if waiting else None
    for s in select.select([a, b, sys.stdin], [], [], wait)[0]:
        if s is sys.stdin:
            line = sys.stdin.readline()
            if line == "":
                sys.exit()
            delay, lost = float(line.split()[0]) / 1000, float(line.split()[1])
            continue
        while True:
            try:
                frame, where = s.recvfrom(70000)
            except OSError:
                break
            if where[2] == PACKET_OUTGOING or random.random() < lost:
                continue
            if s is a:
                send(b, frame)
            elif delay == 0:
                send(a, frame)
            else:
                number += 1
                heapq.heappush(waiting, (time.monotonic() + delay, number, frame))
`;

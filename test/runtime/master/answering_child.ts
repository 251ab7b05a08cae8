/**
 * A child that takes every cycle but one: generation 9 makes it hang. It exits when it is told to, and by the signals
 * that nginx's workers exit by.
 */
process.on("message", ({ type, data }: { type: string; data?: { generation: number } }) => {
  if (type === "cycle" && data !== undefined && data.generation !== 9) {
    process.send?.({ type: "ready", generation: data.generation });
  }
  if (type === "quit" || type === "stop") process.exit(0);
});
process.on("SIGQUIT", () => {
  process.send?.({ type: "closed" });
  process.exit(0);
});
process.on("SIGTERM", () => process.exit(0));
process.on("disconnect", () => process.exit(0));

/** What an order waits for: another service. */
export async function ask() {
  const answer = await fetch(process.env.BACKEND);
  return answer.text();
}

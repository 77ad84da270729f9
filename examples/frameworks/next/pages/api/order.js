export default async function order(_request, response) {
  const answer = await fetch(process.env.BACKEND);
  response.send(await answer.text());
}

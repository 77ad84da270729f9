export default function Hello() {
  return 'hello';
}

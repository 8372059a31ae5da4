// Stricter than the bundler: a class name that is not there is undefined.
declare module "*.module.css" {
  const names: Readonly<Record<string, string>>;
  export default names;
}
